// SPDX-License-Identifier: Apache-2.0
// Files in the journal's directory that hold what a large transaction has recorded so far.
#pragma once

#include <string>

#include "common/os/file.h"

namespace hotbackup::journal {

/// "spill-PID-N.tmp": a new one with each call.
std::string next_spill_name();

/// Removes those of processes that are gone. From the group's pid namespace.
Result<> remove_left_spills(os::Directory& directory);

}  // namespace hotbackup::journal
