// SPDX-License-Identifier: Apache-2.0
// hotbackup mark: a named point in the journal, for --until mark:NAME.
#include <cstdio>

#include "common/journal/mark.h"
#include "tools/hotbackup/command_log.h"
#include "tools/resync/command.h"
#include "tools/resync/container.h"

namespace hotbackup::resync {
namespace {

struct MarkOptions {
  std::string group;
  std::string name;
};

Result<int> mark(const Session& session, MarkOptions options) {
  if (options.name.empty()) std::swap(options.group, options.name);  // the only group
  if (options.name.empty() || options.name.size() > journal::kMarkBytesMax ||
      options.name.find_first_of("\n\r\t:") != std::string::npos)
    return fail(ErrorCode::kConfig, "a mark needs a name of at most 200 bytes without ':'");
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
  control::Group& group = *opened->group;
  if (group.role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, "group " + opened->settings->name + " is " +
                                        std::string(cli::role_name(group.role())) +
                                        " here: marks are set on its master");
  HOTBACKUP_TRY(cli::log_command(session, group.directory()));
  UpdateNumber number;
  journal::FrameHeader fields;
  fields.epoch = group.epoch();
  {
    HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
    if (group.role() != control::Role::kMaster)
      return fail(ErrorCode::kFenced, "the role has just changed: see hotbackup status");
    fields.commit_time = wall_now();
    HOTBACKUP_ASSIGN(
        const auto appended,
        group.journal().append_control(lock, journal::FrameKind::kMark, options.name, fields));
    number = appended.number;
  }
  HOTBACKUP_TRY(group.journal().sync_through(number));
  group.notify_published();
  if (session.json)
    std::printf("%s\n", Json{{"group", opened->settings->name},
                             {"mark", options.name},
                             {"number", number.value},
                             {"time", iso8601(fields.commit_time)}}
                            .dump(-1, ' ', false, Json::error_handler_t::replace)
                            .c_str());
  else
    std::printf("%s  mark %s is update %s\n", opened->settings->name.c_str(), options.name.c_str(),
                human_count(number.value).c_str());
  return cli::kDone;
}

}  // namespace

void add_mark(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("mark", "A named point in the journal");
  auto options = std::make_shared<MarkOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("NAME", options->name, "for --until mark:NAME");
  command->callback([&session, options] {
    session.action = [&session, options] { return mark(session, *options); };
  });
}

}  // namespace hotbackup::resync
