// SPDX-License-Identifier: Apache-2.0
// <group>/rejoin: how far the way back onto another master's history has come.
// docs/decisions/0031-rejoin.md, docs/formats/orphans.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/control/group.h"

namespace hotbackup::slave {

struct Rejoin {
  enum class Phase {
    kOrphans,  // what only this node has is kept; the rest of it has to be asked for
    kFetched,  // what undoes it is here; the journal has to be cut
    kCut,      // the journal goes on from `common`; the copies are undone once it reaches `through`
  };
  Phase phase = Phase::kOrphans;
  /// The copies hold exactly the updates through this, but for what the sets in `undo` touched.
  UpdateNumber base;
  Position common;                // with the new master
  std::vector<std::string> undo;  // names of orphan sets
  // From kFetched on:
  UpdateNumber through;     // the master's number that the fetched items show
  std::uint64_t bytes = 0;  // of the file that holds them
};

/// Nothing when no rejoin is under way; kCorrupt when the file is not what this program writes.
Result<std::optional<Rejoin>> read_rejoin(const std::string& group_directory);
/// Durable when it returns.
Result<> write_rejoin(const control::Group& group, const Rejoin& rejoin);
/// The end of it: the fetched items go as well.
Result<> remove_rejoin(const control::Group& group);

/// What is to be asked for, and what came: files of records.
std::string rejoin_wanted_path(const control::Group& group);
std::string rejoin_items_path(const control::Group& group);

}  // namespace hotbackup::slave
