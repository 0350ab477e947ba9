// SPDX-License-Identifier: Apache-2.0
// hotbackup trace: for a time both servers of this node log every message of their links.
#include <cstdio>

#include "common/os/file.h"
#include "tools/hotbackup/command_log.h"

namespace hotbackup::cli {
namespace {

struct TraceOptions {
  std::string what;
  std::string length = "10 min";
};

Result<int> trace(const Session& session, const TraceOptions& options) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  WallTime until{};
  if (options.what == "on") {
    auto length = config::parse_duration(options.length);
    if (!length) return fail(std::move(length).error().with_context("--for"));
    until = wall_now() + *length;
  }
  HOTBACKUP_TRY(log_command(session, configuration.node.state));
  HOTBACKUP_TRY(os::replace_file(configuration.node.state + "/trace",
                                 std::to_string(until.time_since_epoch().count()) + "\n",
                                 {static_cast<uid_t>(-1), static_cast<gid_t>(-1), 0644}));
  if (options.what == "off")
    std::printf("the servers stop tracing within 2 s\n");
  else
    std::printf("the servers log every message from within 2 s until %s\n", iso8601(until).c_str());
  return kDone;
}

}  // namespace

void add_trace(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("trace", "The servers log every message of their links");
  auto options = std::make_shared<TraceOptions>();
  command->add_option("WHAT", options->what, "on or off")
      ->required()
      ->check(CLI::IsMember({"on", "off"}));
  command->add_option("--for", options->length, "how long (10 min)")->type_name("TIME");
  command->callback([&session, options] {
    session.action = [&session, options] { return trace(session, *options); };
  });
}

}  // namespace hotbackup::cli
