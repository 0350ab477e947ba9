// SPDX-License-Identifier: Apache-2.0
// hotbackup recover, hotbackup-resync recover: environments level with the journal, before
// applications start.
#include "common/recovery/environment_recovery.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/journal/spills.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

using nlohmann::ordered_json;

Result<int> recover(const Session& session, control::Group& group) {
  const std::string name = group.layout().group_name;
  if (!group.shares_pid_namespace())
    return fail(ErrorCode::kRefused, "this group is used in another pid namespace");
  ordered_json environments = ordered_json::array();
  bool found_something = false;
  const auto report = [&](const control::EnvironmentEntry& entry,
                          const recovery::Recovered& recovered) {
    const std::string outcome(recovery::outcome_name(recovered.outcome));
    found_something |= recovered.outcome == recovery::Outcome::kUnlogged ||
                       recovered.outcome == recovery::Outcome::kReplaced;
    environments.push_back({{"name", entry.name},
                            {"outcome", outcome},
                            {"update", recovered.update.value},
                            {"text", recovered.text}});
    if (!session.json)
      std::printf("%-12s %-9s %s\n", entry.name, outcome.c_str(), recovered.text.c_str());
  };
  HOTBACKUP_TRY(recovery::recover_all(group, report));
  HOTBACKUP_TRY(journal::remove_left_spills(group.journal_directory()));
  if (session.json)
    std::printf("%s\n",
                ordered_json{{"group", name}, {"environments", environments}}.dump().c_str());
  else if (environments.empty())
    std::printf("%s: nothing was due\n", name.c_str());
  return found_something ? kFound : kDone;
}

Result<int> recover_named(const Session& session, const std::string& name) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  HOTBACKUP_ASSIGN(const config::Group* settings, config::find_group(configuration, name));
  auto opened = control::Group::open(group_directory(configuration, settings->name));
  if (!opened) return fail(std::move(opened).error().with_context("group " + settings->name));
  return recover(session, **opened);
}

/// What the boot runs. A group that was never initialised has nothing to recover; one that cannot
/// be recovered does not keep the others from it.
Result<int> recover_every(const Session& session) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  int worst = kDone;
  for (const config::Group& settings : configuration.groups) {
    auto opened = control::Group::open(group_directory(configuration, settings.name));
    if (!opened && opened.error().code() == ErrorCode::kNotFound) continue;
    auto code = opened ? recover(session, **opened) : tl::unexpected(std::move(opened).error());
    if (!code)
      std::fprintf(stderr, "hotbackup: group %s: %s\n", settings.name.c_str(),
                   error_line(code.error()).c_str());
    const int result = code ? *code : exit_code(code.error());
    if (worst == kDone || result == kFailed) worst = result;
  }
  return worst;
}

}  // namespace

void add_recover(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "recover", "Brings environments level with the journal after a crash of this machine");
  auto group = std::make_shared<std::string>();
  command->add_option("GROUP", *group, "may be left out where there is only one");
  auto every = std::make_shared<bool>(false);
  command->add_flag("--all", *every, "every group of this node, one after the other: for the boot")
      ->excludes("GROUP");
  command->callback([&session, group, every] {
    session.action = [&session, group, every] {
      return *every ? recover_every(session) : recover_named(session, *group);
    };
  });
}

}  // namespace hotbackup::cli
