// SPDX-License-Identifier: Apache-2.0
// A group's status as JSON: what `hotbackup status --json` prints and /status.json serves.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "common/status/group_status.h"

namespace hotbackup::status {

/// Names are stable: INTERFACE.
nlohmann::ordered_json to_json(const GroupStatus& status);

/// From then to now; 0 for nothing, and for a clock that went back.
double seconds_since(WallTime now, const std::optional<WallTime>& then);

}  // namespace hotbackup::status
