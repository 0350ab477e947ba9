// SPDX-License-Identifier: Apache-2.0
// Facts about this boot and about processes.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"

namespace hotbackup::os {

/// Names the pid namespace of this process: robust locks and LMDB's own work within one only. 0
/// where it cannot be told.
std::uint64_t pid_namespace();

/// Kernel's boot id (/proc/sys/kernel/random/boot_id), zeros behind it. Fails where /proc hides it
/// (systemd's ProcSubset=pid) or is not there.
Result<std::array<char, 40>> boot_id();
/// CLOCK_BOOTTIME: nanoseconds since the boot, time in suspend included.
std::int64_t boottime_ns();

/// False when no process with this pid exists.
bool process_exists(pid_t pid);
/// "pdns_server"; empty when it is gone.
std::string process_name(pid_t pid);
/// Of this process, also where its number here is not the one that /proc counts by.
std::string own_name();

struct Mappers {
  std::vector<pid_t> pids;
  bool all_seen = true;  // false: some processes may not be looked at by this user
  std::size_t own = 0;   // how often this process has it mapped itself
};
/// The other processes that have a file of this inode mapped, by a path with this end: some file
/// systems show another device in maps than in stat. Reads all of /proc: some milliseconds.
Mappers processes_mapping(ino_t inode, std::string_view path_end);

}  // namespace hotbackup::os
