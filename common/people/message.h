// SPDX-License-Identifier: Apache-2.0
// What the notify list is told, and how each kind of entry is reached: mail, web, command, file,
// syslog. docs/operating/notify.md.
#pragma once

#include <atomic>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/config/quantity.h"
#include "common/people/teller.h"

namespace hotbackup::people {

/// {group, code, severity, subject, time, text, action, cleared, count}: of `hotbackup incidents`
/// and of webhooks.
nlohmann::ordered_json incident_json(const catalogue::IncidentRecord& incident);

/// One message as a JSON object on one line: node, time, title, text, incidents.
std::string make_message(const std::string& node, const std::vector<Notice>& notices, WallTime now);
/// What `notify-test` sends.
std::string make_test_message(const std::string& node, WallTime now);

/// Hands the message to one entry of the notify list: "mailto:…", "https://…", "exec:…", "file:…",
/// "syslog:…". Blocks, for kSendLimit at most, or until `stop` is set; an error: not delivered.
Result<> send(const std::string& to, const std::string& message,
              const std::optional<config::Address>& smtp, const std::atomic<bool>& stop);

inline constexpr std::chrono::seconds kSendLimit{30};

/// An entry in messages and incidents: of a URL no more than its host, the rest may be a secret.
std::string name_of(const std::string& to);

}  // namespace hotbackup::people
