// SPDX-License-Identifier: Apache-2.0
// Finds programs that write a group's data files without capture: those which were running already
// when the group was made. CAPTURE section 8.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/control/group.h"

namespace hotbackup::master {

struct UncapturedWriter {
  pid_t pid = 0;
  std::string program;
  std::string file;
};

/// Processes that have a data file of the group open for writing and do not map the group's control
/// file. Not seen: processes whose /proc entries this user may not read. Reads all of /proc: some
/// milliseconds. This process and hotbackup's own programs are left out.
std::vector<UncapturedWriter> uncaptured_writers(const control::Group& group);

/// "waiting for capture: pid 123 (pdns_server), pid 124 (python3)".
std::string describe(const std::vector<UncapturedWriter>& writers);

/// Makes what already lies on this node and matches the group's paths part of the group, so that it
/// is in the first seed. Files that are not LMDB environments are left alone.
Result<> join_existing(control::Group& group);

}  // namespace hotbackup::master
