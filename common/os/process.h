// SPDX-License-Identifier: Apache-2.0
// Facts about this boot and about processes.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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

struct Mappers {
  std::vector<pid_t> pids;
  bool all_seen = true;  // false: some processes may not be looked at by this user
};
/// Other processes that have a file of this inode mapped, by a path with this end: some file
/// systems show another device in maps than in stat. Reads all of /proc: some milliseconds.
Mappers processes_mapping(ino_t inode, std::string_view path_end);

}  // namespace hotbackup::os
