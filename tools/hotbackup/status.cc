// SPDX-License-Identifier: Apache-2.0
// hotbackup status: a verdict first, then the numbers it comes from.
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/status/status_json.h"
#include "common/status/verdict.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

using namespace status;
using nlohmann::ordered_json;

constexpr std::size_t kEnvironmentLinesMax = 8;

struct StatusOptions {
  std::string group;
  bool watch = false;
  bool check = false;
};

void print_environments(const GroupStatus& status) {
  const std::size_t count = status.environments.size();
  for (std::size_t i = 0; i < std::min(count, kEnvironmentLinesMax); ++i) {
    const EnvironmentStatus& environment = status.environments[i];
    std::printf("  %-10s %s%s\n", environment.name.c_str(), environment.path.c_str(),
                environment.unlogged ? "  (written without capture)" : "");
  }
  if (count > kEnvironmentLinesMax)
    std::printf("  … and %zu more environments\n", count - kEnvironmentLinesMax);
}

void print_journal(const JournalStatus& journal) {
  std::printf("  journal    from update %s, %s", human_count(journal.first).c_str(),
              human_bytes(journal.bytes).c_str());
  if (journal.limit_bytes) std::printf(" of %s", human_bytes(*journal.limit_bytes).c_str());
  if (!journal.kept_for.empty()) std::printf(", kept for %s", journal.kept_for.c_str());
  if (journal.archived)
    std::printf("; archived through %s", human_count(*journal.archived).c_str());
  std::printf("\n");
}

void print(const GroupStatus& status) {
  std::printf("%s\n", verdict_line(status, judge(status)).c_str());
  if (!status.initialised || status.role == control::Role::kNone) return;
  const auto count = [](std::uint64_t number) { return human_count(number); };
  const auto updates = [](std::uint64_t number) {
    return human_count(number) + (number == 1 ? " update" : " updates");
  };
  const auto since = [&](const std::optional<WallTime>& then) {
    return then ? human_duration(status.now - *then) : std::string("0 s");
  };
  std::printf("  state      %s\n", group_state(status).c_str());
  std::printf("  numbers    made %s  published %s  sent %s  journaled %s  applied %s\n",
              count(status.made).c_str(), count(status.published).c_str(),
              count(status.sent).c_str(), count(status.journaled).c_str(),
              count(status.applied).c_str());
  std::printf("  queue      %s, %s\n", updates(status.queue.updates).c_str(),
              human_bytes(status.queue.bytes).c_str());
  std::printf("  lag        %s\n", since(status.behind.oldest).c_str());
  if (status.applying != control::ApplyState::kRunning || status.apply_delay.count() != 0)
    std::printf("  applying   %s\n", applying_text(status).c_str());
  if (status.role == control::Role::kMaster)
    std::printf("  exposure   %s, %s; limit %s%s%s\n", updates(status.exposure.updates).c_str(),
                since(status.exposure.oldest).c_str(), control::describe(status.limit).c_str(),
                status.limit.kind == control::LimitKind::kOff ? "" : ", then ",
                status.limit.kind == control::LimitKind::kOff
                    ? ""
                    : std::string(control::at_limit_name(status.limit.at_limit)).c_str());
  for (const PeerStatus& peer : status.peers) {
    const std::string state = peer_state(status, peer);
    std::printf("  peer       %s  %s", peer.name.c_str(), state.c_str());
    if (peer.heard) std::printf(", heard %s ago", since(peer.heard).c_str());
    if (peer.clock)
      std::printf(", clock %s%.3f s", *peer.clock < peer.clock->zero() ? "-" : "+",
                  std::abs(std::chrono::duration<double>(*peer.clock).count()));
    const std::string& text = peer.text;
    if (text.starts_with(state + ": "))
      std::printf("%s", text.substr(state.size()).c_str());
    else if (!text.empty())
      std::printf(", %s", text.c_str());
    if (peer.needs_seed && !peer.pins) std::printf("; it needs a seed");
    std::printf("\n");
  }
  print_journal(status.journal);
  std::printf("  server     %s %s\n", status.server.program.c_str(),
              server_text(status.server).c_str());
  print_environments(status);
  for (const Incident& incident : status.incidents)
    std::printf("  incident   %s  %s  %s\n",
                incident.time ? iso8601(*incident.time).c_str() : "now", incident.code.c_str(),
                incident.text.c_str());
}

Result<int> show_once(const Session& session, const config::Configuration& configuration,
                      const std::vector<const config::Group*>& groups) {
  bool good = true;
  ordered_json out{{"time", iso8601(wall_now())},
                   {"node", configuration.node.name},
                   {"groups", ordered_json::array()}};
  for (const config::Group* group : groups) {
    HOTBACKUP_ASSIGN(const GroupStatus status, read_status(configuration, *group));
    good = good && judge(status).good;
    if (session.json)
      out["groups"].push_back(to_json(status));
    else
      print(status);
  }
  if (session.json)
    std::printf("%s\n", out.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
  std::fflush(stdout);
  return good ? kDone : kFound;
}

Result<int> status(const Session& session, const StatusOptions& options) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  std::vector<const config::Group*> groups;
  if (options.group.empty() && !configuration.groups.empty()) {
    for (const config::Group& group : configuration.groups) groups.push_back(&group);
  } else {
    HOTBACKUP_ASSIGN(const config::Group* group, config::find_group(configuration, options.group));
    groups.push_back(group);
  }
  const bool screen = options.watch && !session.json && ::isatty(STDOUT_FILENO) != 0;
  // One write a picture: what is cleared and drawn again in one go does not flicker.
  if (screen) std::setvbuf(stdout, nullptr, _IOFBF, 1 << 16);
  for (;;) {
    if (screen) std::printf("\033[H\033[J");
    HOTBACKUP_ASSIGN(const int found, show_once(session, configuration, groups));
    if (!options.watch) return options.check ? found : kDone;
    if (options.check && found != kDone) return found;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

void add_status(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("status", "How the groups of this node are: a verdict, then the numbers");
  auto options = std::make_shared<StatusOptions>();
  command->add_option("GROUP", options->group, "all groups if left out");
  command->add_flag("--watch", options->watch, "again each second");
  command->add_flag(
      "--check", options->check,
      "exit 4 unless every group is PROTECTED or READY; with --watch, as soon as one is not");
  command->callback([&session, options] {
    session.action = [&session, options] { return status(session, *options); };
  });
}

}  // namespace hotbackup::cli
