// SPDX-License-Identifier: Apache-2.0
// <group>/orphans: the updates that only a fenced node had, as whole sets, one for each return.
// docs/formats/orphans.md, rule R8.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/control/group.h"
#include "common/journal/frame.h"

namespace hotbackup::orphan {

/// What a person did with one orphan.
struct Decision {
  bool applied = false;  // else dropped
  WallTime time;
  UpdateNumber became;  // the master's update; of one that was applied
};

/// One set: everything that the node's journal held after the last position it had in common with
/// its new master. Its frames lie in a segment file that the journal's reader reads.
struct Set {
  std::string name;         // of its directory
  Position common;          // the last update that both have
  UpdateNumber last;        // of this node's journal then
  Epoch epoch;              // of that one
  std::string master;       // the new master's name
  WallTime time;            // when it was written
  std::uint64_t count = 0;  // orphans in it: updates that change something and are not void
  std::map<UpdateNumber, Decision> decided;

  std::uint64_t open() const { return count - decided.size(); }
};

/// Whole sets, oldest first. kCorrupt when one is not as it was written.
Result<std::vector<Set>> list(const std::string& group_directory);
Result<Set> read(const std::string& group_directory, const std::string& name);

/// Copies everything after `common` from the group's journal. Durable when it returns; one that is
/// there already stays as it is. Returns its name.
Result<std::string> write(control::Group& group, const Position& common, const std::string& master);

/// Every frame of the set in order, control frames and voids among them.
using Visit = std::function<Result<>(const journal::FrameView&)>;
Result<> for_each_frame(const std::string& group_directory, const GroupId& group, const Set& set,
                        const Visit& visit);
/// Whether this frame belongs to an orphan: an update that was not void and has operations.
bool is_orphan(const journal::FrameHeader& header);

/// Notes the decision durably.
Result<> decide(const std::string& group_directory, const os::Permissions& permissions, Set& set,
                UpdateNumber number, const Decision& decision);
/// A set of which every orphan was decided on goes.
Result<> remove(const std::string& group_directory, const Set& set);

/// Raises or clears the incident that says how many wait for a decision.
Result<> note_open(control::Group& group);

}  // namespace hotbackup::orphan
