// SPDX-License-Identifier: Apache-2.0
// What decides how long journal segments stay: the configuration's rules, and what holds them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/config/configuration.h"
#include "common/retention/claims.h"

namespace hotbackup::retention {

struct Rules {
  std::optional<std::chrono::milliseconds> keep;  // nothing: no longer than needed
  std::optional<std::uint64_t> limit_bytes;
  config::AtJournalLimit at_limit = config::AtJournalLimit::kForgetSlave;
  bool archive = false;
  std::vector<std::string> peers;  // of the group; only a master's pin the journal
};

/// The default limit depends on the free space of the journal's disk as it is now.
Rules rules_of(const config::Group& configuration, control::Group& group);

/// One reason why segments stay: those that hold a later update than `through` may not go.
struct Hold {
  enum class Kind { kOpenCommit, kSlave, kArchive, kCopies };
  Kind kind;
  std::string name;  // of the slave
  UpdateNumber through;

  /// "slave lyon, which has update 4,120".
  std::string describe() const;
};

/// All of them; the one that holds most comes first. Of two that hold the same, the slave comes
/// last: what is not to be released is named before it.
std::vector<Hold> holds(const control::Group& group, const Rules& rules, const Record& record);

struct Segment {
  UpdateNumber first;
  UpdateNumber last;  // meaningless in the active one
  std::uint64_t bytes = 0;
  bool active = false;
};
/// Every segment, oldest first; the last is the active one. Spares are not in it.
Result<std::vector<Segment>> segments_of(control::Group& group);
std::uint64_t bytes_of(const std::vector<Segment>& segments);

/// When the segment before this one was closed: the commit time of this one's first update. Nothing
/// while it has none.
std::optional<WallTime> begin_of(control::Group& group, const Segment& segment);

/// Why the oldest segment is still there, in words; "" when the journal is only its active one.
std::string why_kept(control::Group& group, const Rules& rules);

/// What a slave's copies hold for sure: the lower bound of its file `applied`. 0 when unknown.
UpdateNumber copies_hold(const control::Group& group);

}  // namespace hotbackup::retention
