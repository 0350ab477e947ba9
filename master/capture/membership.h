// SPDX-License-Identifier: Apache-2.0
// Whether a data file belongs to a group: the `.hotbackup` link beside it. CAPTURE section 1.
#pragma once

#include <string>

#include "common/control/group.h"

namespace hotbackup::capture {

struct Membership {
  enum class Kind {
    kNone,      // no link, or the group covers no such file: LMDB alone
    kUnusable,  // a link that leads nowhere usable: reads pass, writes are refused
    kMember,
  };
  Kind kind = Kind::kNone;
  control::Group* group = nullptr;             // of a member
  control::EnvironmentEntry* entry = nullptr;  // nullptr: to join, see join_group
  std::string path;                            // canonical, of the directory or file
  bool subdirectory = true;

  std::string data_file() const { return subdirectory ? path + "/data.mdb" : path; }
  std::string lock_file() const { return path + (subdirectory ? "/lock.mdb" : "-lock"); }
};

/// For the arguments of an mdb_env_open. Opens the group when there is one; blocks on the disk.
Membership find_membership(const char* path, unsigned flags);

/// Finds a member's entry, or makes the file join by its pattern where this node is master.
/// nullptr in any other case.
control::EnvironmentEntry* join_group(control::Group& group, const std::string& path,
                                      bool subdirectory);

}  // namespace hotbackup::capture
