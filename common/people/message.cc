// SPDX-License-Identifier: Apache-2.0
#include "common/people/message.h"

#include <nlohmann/json.hpp>

#include "common/incident/catalogue.h"

namespace hotbackup::people {
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string times_text(std::uint64_t times) {
  return times > 1 ? " (" + std::to_string(times) + " times)" : "";
}

/// "dns: HB-link-down lyon: …"
std::string line_of(const Notice& notice) {
  const catalogue::IncidentRecord& incident = notice.incident;
  std::string line = incident.group + ": " + incident.code;
  if (!incident.subject.empty()) line += " " + incident.subject;
  if (notice.cleared) return line + " is over" + times_text(notice.times);
  return line + (notice.reminder ? ", still" : "") + times_text(notice.times) + ": " +
         incident.text;
}

std::string paragraph_of(const Notice& notice) {
  const catalogue::IncidentRecord& incident = notice.incident;
  std::string text = line_of(notice) + "\n";
  text += "  since " + iso8601(incident.first);
  if (notice.cleared && incident.cleared) text += " until " + iso8601(*incident.cleared);
  text += "\n";
  if (notice.cleared) return text + "  it was: " + incident.text + "\n";
  if (const incident::Entry* entry = incident::find(incident.code))
    text += "  " + std::string(entry->meaning) + "\n";
  return text + "  Next: " + incident::action_for(incident.code, incident.group, incident.subject) +
         "\n";
}

}  // namespace

ordered_json incident_json(const catalogue::IncidentRecord& incident) {
  return {{"group", incident.group},
          {"code", incident.code},
          {"severity", incident::severity_name(incident::severity_of(incident.code))},
          {"subject", incident.subject},
          {"time", iso8601(incident.first)},
          {"text", incident.text},
          {"action", incident::action_for(incident.code, incident.group, incident.subject)},
          {"cleared",
           incident.cleared ? ordered_json(iso8601(*incident.cleared)) : ordered_json(nullptr)},
          {"count", incident.count}};
}

std::string make_message(const std::string& node, const std::vector<Notice>& notices,
                         WallTime now) {
  std::string title = node + ": " + line_of(notices.front());
  if (notices.size() > 1) title += ", and " + std::to_string(notices.size() - 1) + " more";
  std::string text;
  ordered_json incidents = ordered_json::array();
  for (const Notice& notice : notices) {
    text += (text.empty() ? "" : "\n") + paragraph_of(notice);
    ordered_json one = incident_json(notice.incident);
    if (!notice.cleared) one["cleared"] = nullptr;
    one["count"] = notice.times;
    one["reminder"] = notice.reminder;
    incidents.push_back(std::move(one));
  }
  return dump({{"node", node},
               {"time", iso8601(now)},
               {"title", title},
               {"text", text},
               {"incidents", incidents}});
}

std::string make_test_message(const std::string& node, WallTime now) {
  return dump({{"node", node},
               {"time", iso8601(now)},
               {"title", node + ": test of the notify list"},
               {"text", "This is a test of the notify list of node " + node +
                            ", sent by hotbackup notify-test. Nothing is wrong.\n"},
               {"incidents", ordered_json::array()}});
}

}  // namespace hotbackup::people
