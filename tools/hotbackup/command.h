// SPDX-License-Identifier: Apache-2.0
// What every command of `hotbackup` shares: how it is registered, what it gets, how it ends.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/config/configuration.h"
#include "common/control/group.h"
#include "common/status/group_status.h"

namespace hotbackup::cli {

/// Exit codes of INTERFACE; scripts depend on them.
enum ExitCode : int {
  kDone = 0,
  kFailed = 1,      // and nothing was changed
  kUsage = 2,       // or configuration
  kWrongState = 3,  // the group is not in a state where this is allowed
  kFound = 4,       // a check found something
  kGaveUp = 5,
  kNeedsYou = 6,  // done, but a person has to see to something
};

/// One run of the program. Lives in main; the commands borrow it.
struct Session {
  std::string config_path;
  bool json = false;
  std::vector<std::string> arguments;  // as typed, for the command log
  std::vector<std::string> program;    // behind "--": what `run` starts
  /// What the chosen command does; an error is printed by main and decides the exit code.
  std::function<Result<int>()> action;
};

/// Each command adds its own subcommand and sets `session.action` when it is chosen.
void add_init(CLI::App& app, Session& session);
void add_setup(CLI::App& app, Session& session);
void add_capture(CLI::App& app, Session& session);
void add_hook(CLI::App& app, Session& session);
void add_run(CLI::App& app, Session& session);
void add_recover(CLI::App& app, Session& session);
void add_forget(CLI::App& app, Session& session);
void add_unlink(CLI::App& app, Session& session);
void add_status(CLI::App& app, Session& session);
void add_incidents(CLI::App& app, Session& session);
void add_explain(CLI::App& app, Session& session);
void add_notify_test(CLI::App& app, Session& session);
void add_report(CLI::App& app, Session& session);
void add_trace(CLI::App& app, Session& session);
void add_why(CLI::App& app, Session& session);
void add_role(CLI::App& app, Session& session);
void add_scope(CLI::App& app, Session& session);
void add_log(CLI::App& app, Session& session);
void add_wait(CLI::App& app, Session& session);
void add_orphans(CLI::App& app, Session& session);
void add_orphan_write(CLI::App& app, Session& session);
void add_apply_commands(CLI::App& app, Session& session);
void add_promote(CLI::App& app, Session& session);
void add_switch(CLI::App& app, Session& session);
void add_test(CLI::App& app, Session& session);
void add_compare(CLI::App& app, Session& session);
void add_config(CLI::App& app, Session& session);
void add_identity(CLI::App& app, Session& session);
void add_pair(CLI::App& app, Session& session);

/// kDone … for an error: kConfig is wrong usage, kFenced the wrong state, kTimeout gave up.
int exit_code(const Error& error);
/// One line: "HB-config: …", a stable code and the sentence.
std::string error_line(const Error& error);

Result<config::Configuration> load_configuration(const Session& session);
using status::group_directory;

/// A group that was made by `init` on this node.
struct OpenGroup {
  config::Configuration configuration;
  const config::Group* settings;  // in `configuration`
  std::unique_ptr<control::Group> group;
};
/// `name` may be empty where there is only one. kFenced with what to type when init is missing or
/// the group was unlinked.
Result<std::unique_ptr<OpenGroup>> open_group(const Session& session, const std::string& name);
/// The same for a configuration that is loaded already; kFenced as above.
Result<std::unique_ptr<control::Group>> open_group(const config::Configuration& configuration,
                                                   const config::Group& settings);

using status::role_name;

}  // namespace hotbackup::cli
