// SPDX-License-Identifier: Apache-2.0
// hotbackup recover: environments level with the journal, before applications start.
#include "common/recovery/environment_recovery.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

using nlohmann::ordered_json;

Result<int> recover(const Session& session, const std::string& name) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  HOTBACKUP_ASSIGN(const config::Group* settings, config::find_group(configuration, name));
  auto opened = control::Group::open(group_directory(configuration, settings->name));
  if (!opened) return fail(std::move(opened).error().with_context("group " + settings->name));
  control::Group& group = **opened;
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
  if (session.json)
    std::printf(
        "%s\n",
        ordered_json{{"group", settings->name}, {"environments", environments}}.dump().c_str());
  else if (environments.empty())
    std::printf("%s: nothing was due\n", settings->name.c_str());
  return found_something ? kFound : kDone;
}

}  // namespace

void add_recover(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "recover", "Brings environments level with the journal after a crash of this machine");
  auto group = std::make_shared<std::string>();
  command->add_option("GROUP", *group, "may be left out where there is only one");
  command->callback([&session, group] {
    session.action = [&session, group] { return recover(session, *group); };
  });
}

}  // namespace hotbackup::cli
