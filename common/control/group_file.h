// SPDX-License-Identifier: Apache-2.0
// group.toml: what a group is on this node. Written by `hotbackup init`, by a slave's first contact
// and, a block at a time, when a file joins by pattern. Not edited by people.
#pragma once

#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/control/layout.h"
#include "common/control/loss_limit.h"
#include "common/os/file.h"
#include "common/update/keep_local.h"

namespace hotbackup::control {

struct EnvironmentRecord {
  EnvironmentNumber number;
  std::string name;
  std::string configured;
  std::string match;
  std::string path;  // canonical, of the directory or file
  bool subdirectory = true;
  UpdateNumber unlogged_at;  // copies lack something unless they were seeded at it or later; 0: no
  bool came_with_data = false;  // that is why: it joined when slaves were seeded already
  /// Of a master, of an environment whose last words are in no segment any more: what it is due to
  /// show. 0: not known, or the journal says it.
  TxnId quiet_txnid;
  std::uint64_t quiet_inode = 0;
};

struct PatternRecord {
  std::string name;
  std::string path;
};

struct GroupRecord {
  GroupId id;  // none on a slave before its first contact
  std::string name;
  std::string node_name;
  NodeId node;
  Role role = Role::kNone;
  Epoch known_epoch;   // the highest this node has heard of; counter 0: none yet
  bool wrote = false;  // it has been master since its copies were last settled as a slave's
  std::uint64_t boot_wait_ms = 0;  // 0: off
  std::uint64_t lease_ms = 0;      // 0: off
  std::string master_name;
  os::Permissions permissions;  // of files of this group; uid/gid -1: leave
  std::uint64_t segment_bytes = 32 << 20;
  LossLimit limit;
  std::uint64_t journal_bytes_max = 0;  // commits are refused beyond it; 0: no limit
  std::vector<std::string> peers;
  std::vector<PatternRecord> patterns;
  std::vector<EnvironmentRecord> environments;
  std::vector<update::EnvironmentRules> keep_local;  // of those that have rules, by name
};

inline constexpr char kGroupFileName[] = "group.toml";

/// kCorrupt with line and column where it is not what this program writes.
Result<GroupRecord> read_group_file(const std::string& group_directory);
/// Durable when it returns.
Result<> write_group_file(const std::string& group_directory, const GroupRecord& record);

}  // namespace hotbackup::control
