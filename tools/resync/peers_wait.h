// SPDX-License-Identifier: Apache-2.0
// Waiting until peers have everything.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/control/group.h"

namespace hotbackup::resync {

/// Until each of these peers has journaled everything that is made by then; on a slave, until its
/// copies show all that is journaled. Returns that number; kTimeout.
Result<std::uint64_t> wait_for_peers(control::Group& group, const std::vector<std::string>& peers,
                                     std::optional<std::chrono::milliseconds> limit,
                                     const std::string& what);

}  // namespace hotbackup::resync
