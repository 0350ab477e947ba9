// SPDX-License-Identifier: Apache-2.0
// hotbackup incidents, explain: the permanent log, what a code means.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "common/catalogue/catalogue.h"
#include "common/incident/catalogue.h"
#include "common/people/message.h"
#include "tools/hotbackup/command_line.h"

namespace hotbackup::cli {
namespace {

using catalogue::Catalogue;
using catalogue::IncidentRecord;
using nlohmann::ordered_json;

constexpr std::chrono::milliseconds kFollowPeriod{300};

struct IncidentOptions {
  std::string group;
  bool follow = false;
  std::size_t last = 100;
};

void print_json(const ordered_json& json) {
  std::printf("%s\n", json.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

/// What a catalogue without a server cannot know yet: raised by a captured program since.
Result<std::vector<IncidentRecord>> not_logged(const config::Configuration& configuration,
                                               const std::string& name,
                                               const std::vector<IncidentRecord>& logged) {
  std::vector<IncidentRecord> found;
  for (const config::Group& settings : configuration.groups) {
    if (!name.empty() && settings.name != name) continue;
    auto group = control::Group::open(group_directory(configuration, settings.name));
    if (!group && group.error().code() == ErrorCode::kNotFound) continue;
    if (!group) return fail(std::move(group).error().with_context("group " + settings.name));
    for (const control::Incident& incident : (*group)->incidents().open()) {
      const bool known = std::ranges::any_of(logged, [&](const IncidentRecord& record) {
        return record.group == settings.name && record.code == incident.code &&
               record.subject == incident.subject && record.first == incident.first;
      });
      if (known) continue;
      IncidentRecord record;
      record.group = settings.name;
      record.code = incident.code;
      record.subject = incident.subject;
      record.text = incident.text;
      record.first = incident.first;
      record.last = incident.last;
      record.count = incident.count;
      found.push_back(std::move(record));
    }
  }
  return found;
}

Result<std::vector<IncidentRecord>> read_log(const config::Configuration& configuration,
                                             const IncidentOptions& options) {
  std::vector<IncidentRecord> incidents;
  auto log = Catalogue::open(configuration.node.state, Catalogue::Access::kRead);
  if (log) {
    HOTBACKUP_ASSIGN(incidents, log->incidents(options.group, options.last));
  } else if (log.error().code() != ErrorCode::kNotFound) {
    return fail(std::move(log).error());
  }
  HOTBACKUP_ASSIGN(auto others, not_logged(configuration, options.group, incidents));
  incidents.insert(incidents.end(), others.begin(), others.end());
  std::ranges::stable_sort(incidents, std::greater<>(), &IncidentRecord::first);
  if (incidents.size() > options.last) incidents.resize(options.last);
  return incidents;
}

void print(const IncidentRecord& incident) {
  const std::string severity(incident::severity_name(incident::severity_of(incident.code)));
  std::printf("%s  %-7s  %s  %s%s%s", iso8601(incident.first).c_str(), severity.c_str(),
              incident.group.c_str(), incident.code.c_str(), incident.subject.empty() ? "" : " ",
              incident.subject.c_str());
  if (incident.count > 1) std::printf("  %s times", human_count(incident.count).c_str());
  if (incident.cleared)
    std::printf("  cleared %s\n", iso8601(*incident.cleared).c_str());
  else
    std::printf("  open\n");
  std::printf("    %s\n", incident.text.c_str());
  if (!incident.cleared)
    std::printf("    Next: %s\n",
                incident::action_for(incident.code, incident.group, incident.subject).c_str());
}

/// Every raise and every all-clear as it happens, until it is interrupted.
Result<int> follow(const Session& session, const config::Configuration& configuration,
                   IncidentOptions options) {
  std::set<std::tuple<std::string, std::string, std::string, WallTime, bool>> seen;
  bool first = true;
  for (;; first = false) {
    HOTBACKUP_ASSIGN(auto incidents, read_log(configuration, options));
    std::ranges::reverse(incidents);
    for (const IncidentRecord& incident : incidents) {
      const bool cleared = incident.cleared.has_value();
      if (!seen.insert({incident.group, incident.code, incident.subject, incident.first, cleared})
               .second)
        continue;
      if (first && cleared) continue;  // begins with what is open
      if (session.json)
        print_json(people::incident_json(incident));
      else
        print(incident);
    }
    std::fflush(stdout);
    std::this_thread::sleep_for(kFollowPeriod);
  }
}

Result<int> incidents(const Session& session, const IncidentOptions& options) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  if (!options.group.empty()) {
    const auto known = config::find_group(configuration, options.group);
    if (!known) return fail(known.error());
  }
  if (options.follow) return follow(session, configuration, options);
  HOTBACKUP_ASSIGN(const auto found, read_log(configuration, options));
  if (session.json) {
    ordered_json out{{"incidents", ordered_json::array()}};
    for (const IncidentRecord& incident : found)
      out["incidents"].push_back(people::incident_json(incident));
    print_json(out);
    return kDone;
  }
  for (const IncidentRecord& incident : found) print(incident);
  if (found.empty()) std::printf("no incident is known\n");
  return kDone;
}

Result<int> explain(const Session& session, const std::string& code) {
  const incident::Entry* entry = incident::find(code);
  if (entry == nullptr) entry = incident::find("HB-" + code);
  if (entry == nullptr) return fail(ErrorCode::kConfig, "no incident has the code '" + code + "'");
  const std::string severity(incident::severity_name(entry->severity));
  if (session.json)
    print_json({{"code", entry->code},
                {"severity", severity},
                {"meaning", entry->meaning},
                {"action", entry->action}});
  else
    std::printf("%s  %s\n  %s\n  Next: %s\n", std::string(entry->code).c_str(), severity.c_str(),
                std::string(entry->meaning).c_str(), std::string(entry->action).c_str());
  return kDone;
}

}  // namespace

void add_incidents(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("incidents", "The log of incidents, newest first");
  auto options = std::make_shared<IncidentOptions>();
  command->add_option("GROUP", options->group, "all groups if left out");
  command->add_flag("--follow", options->follow,
                    "what is open, then each as it is raised or cleared");
  command->add_option("--last", options->last, "at most so many (100)")
      ->type_name("N")
      ->transform(update_number())
      ->check(CLI::Range(std::size_t{1}, Catalogue::kIncidentsMax));
  command->callback([&session, options] {
    session.action = [&session, options] { return incidents(session, *options); };
  });
}

void add_explain(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("explain", "What an incident means and what to do about it");
  auto code = std::make_shared<std::string>();
  command->add_option("CODE", *code, "as in status: HB-…")->required();
  command->callback(
      [&session, code] { session.action = [&session, code] { return explain(session, *code); }; });
}

}  // namespace hotbackup::cli
