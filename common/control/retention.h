// SPDX-License-Identifier: Apache-2.0
// How long journal segments stay.
#pragma once

#include <chrono>
#include <optional>

#include "common/control/group.h"

namespace hotbackup::control {

/// Recycles the oldest segments whose updates all have numbers ≤ `needless` and that were last
/// written longer than `keep` ago (nothing: at once). The active segment always stays.
Result<> retire_segments(Group& group, UpdateNumber needless,
                         std::optional<std::chrono::milliseconds> keep);

}  // namespace hotbackup::control
