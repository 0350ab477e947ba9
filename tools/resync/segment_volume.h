// SPDX-License-Identifier: Apache-2.0
// A journal segment that the archive command kept, read as a volume.
#pragma once

#include "common/journal/frame.h"
#include "tools/resync/found.h"

namespace hotbackup::resync {

/// Its whole updates; what comes after them (a torn end, what a recycled file still holds) counts
/// for nothing. It does not say the group's name.
Found look_at_segment(const std::string& path);

/// Its frames through the last whole update, checked.
Result<> read_segment(const Found& segment,
                      const std::function<Result<>(const journal::FrameView&)>& visit);

}  // namespace hotbackup::resync
