// SPDX-License-Identifier: Apache-2.0
// hotbackup why: for whatever is not normal, its cause and the next command to type.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/status/verdict.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

using namespace status;

Result<int> why(const Session& session, const std::string& name) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  nlohmann::ordered_json out{{"groups", nlohmann::ordered_json::array()}};
  bool known = name.empty();
  for (const config::Group& settings : configuration.groups) {
    if (!name.empty() && settings.name != name) continue;
    known = true;
    HOTBACKUP_ASSIGN(GroupStatus status, read_status(configuration, settings));
    const std::vector<Incident> incidents = std::exchange(status.incidents, {});
    const Verdict verdict = judge(status);  // of the state itself; incidents follow one by one
    nlohmann::ordered_json one{{"name", settings.name},
                               {"normal", verdict.good && incidents.empty()},
                               {"verdict", verdict_line(status, verdict)},
                               {"causes", nlohmann::ordered_json::array()}};
    if (!session.json) std::printf("%s\n", verdict_line(status, verdict).c_str());
    for (const Incident& incident : incidents) {
      one["causes"].push_back(
          {{"code", incident.code}, {"text", incident.text}, {"action", incident.action}});
      if (!session.json)
        std::printf("  %s  %s\n    Next: %s\n", incident.code.c_str(), incident.text.c_str(),
                    incident.action.c_str());
    }
    out["groups"].push_back(std::move(one));
  }
  if (!known) return fail(ErrorCode::kConfig, "no [[group]] is called '" + name + "'");
  if (session.json)
    std::printf("%s\n",
                out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  return kDone;
}

}  // namespace

void add_why(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("why", "What is not normal, its cause, and what to type next");
  auto group = std::make_shared<std::string>();
  command->add_option("GROUP", *group, "all groups if left out");
  command->callback(
      [&session, group] { session.action = [&session, group] { return why(session, *group); }; });
}

}  // namespace hotbackup::cli
