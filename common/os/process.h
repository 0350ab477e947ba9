// SPDX-License-Identifier: Apache-2.0
// Facts about this boot and about processes.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>

namespace hotbackup::os {

/// Names the pid namespace of this process: robust locks and LMDB's own work within one only. 0
/// where it cannot be told.
std::uint64_t pid_namespace();

/// Kernel's boot id (/proc/sys/kernel/random/boot_id), all zero where it cannot be read.
std::array<char, 40> boot_id();
/// CLOCK_BOOTTIME: nanoseconds since the boot, time in suspend included.
std::int64_t boottime_ns();

/// False when no process with this pid exists.
bool process_exists(pid_t pid);
/// "pdns_server"; empty when it is gone.
std::string process_name(pid_t pid);

}  // namespace hotbackup::os
