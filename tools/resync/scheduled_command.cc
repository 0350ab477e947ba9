// SPDX-License-Identifier: Apache-2.0
// hotbackup-resync scheduled: what the servers run when the next save of [group.saves] is due.
#include <fcntl.h>
#include <sys/file.h>

#include <csignal>

#include "common/os/unique_fd.h"
#include "tools/resync/command.h"
#include "tools/resync/saver.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

Result<int> scheduled(const Session& session, const std::string& name) {
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, name));
  const std::string path = opened->group->directory() + "/scheduled.lock";
  const os::UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!lock) return fail_errno("opening " + path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kFenced, "the scheduled saves of group " + opened->settings->name +
                                        " are being made already");
  std::signal(SIGTERM, [](int) { stop_requested().store(true); });
  std::signal(SIGINT, [](int) { stop_requested().store(true); });
  Saver saver(*opened);
  HOTBACKUP_TRY(saver.run());
  return saver.well() ? cli::kDone : cli::kNeedsYou;
}

}  // namespace

void add_scheduled(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "scheduled", "Makes, verifies and removes what [group.saves] says is due; for the servers");
  auto group = std::make_shared<std::string>();
  command->add_option("GROUP", *group, "may be left out where there is only one");
  command->callback([&session, group] {
    session.action = [&session, group] { return scheduled(session, *group); };
  });
}

}  // namespace hotbackup::resync
