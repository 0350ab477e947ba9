// SPDX-License-Identifier: Apache-2.0
// The link `.hotbackup` that turns capture on: in the directory of a data file, to the group's
// directory. One directory belongs to one group.
#pragma once

#include <string>

#include "common/base/error.h"

namespace hotbackup::cli {

inline constexpr char kCaptureLinkName[] = ".hotbackup";

enum class CaptureLink { kAbsent, kOurs };

/// Looks, changes nothing. kRefused, with what to do, where something else has that name: a link to
/// another group, one that leads nowhere, a file.
Result<CaptureLink> examine_capture_link(const std::string& directory,
                                         const std::string& group_directory);
/// Durable when it returns. One that is ours already stays.
Result<> place_capture_link(const std::string& directory, const std::string& group_directory);
/// Removes the link if it leads to this group; true when it was there.
Result<bool> remove_capture_link(const std::string& directory, const std::string& group_directory);

}  // namespace hotbackup::cli
