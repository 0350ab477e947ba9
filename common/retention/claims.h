// SPDX-License-Identifier: Apache-2.0
// <group>/retention: who has a claim on the journal, and what the archive has taken. It survives a
// reboot, which the control file does not. docs/formats/retention.md.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/control/group.h"

namespace hotbackup::retention {

/// A slave's claim: it pins the journal from the update after `at` on.
struct Claim {
  std::string peer;
  Position at;  // journaled there for sure; at 0 it pins everything
  /// It pins nothing and begins again with a seed; `at` is what it had when it was released.
  bool needs_seed = false;
  UpdateNumber seed_from;  // not 0: a seed is under way, and what follows this is kept for it

  /// What it has for sure; nothing while it pins nothing.
  std::optional<UpdateNumber> holds() const {
    if (seed_from.value != 0) return seed_from;
    if (needs_seed) return std::nullopt;
    return at.number;
  }
};

struct Record {
  std::vector<Claim> claims;  // a peer without one was never seeded and pins nothing
  UpdateNumber archived;      // segments that end at or before this were taken by the archive

  const Claim* find(std::string_view peer) const;
  /// Made if need be.
  Claim& of(std::string_view peer);
};

/// A missing file is an empty record. A damaged one reads as what loses nothing: every peer claims
/// everything, nothing is archived.
Result<Record> read_record(const control::Group& group);

/// Reads, lets `change` change, and replaces the file durably if anything did; one process at a
/// time, under a lock on the group's directory. Blocks for a sync.
Result<> change_record(control::Group& group, const std::function<void(Record&)>& change);

/// The slave has everything through `at`, and gets what follows from the journal.
Result<> hold(control::Group& group, std::string_view peer, const Position& at);
/// Its seed begins, at this update or a later one.
Result<> hold_for_seed(control::Group& group, std::string_view peer, UpdateNumber from);

/// Releases the slave's claim; it needs a seed afterwards. What it had last is kept in the record,
/// to know its copy by. kNotFound when it claims nothing.
Result<> forget(control::Group& group, std::string_view peer);

/// What a master knows of a slave that calls.
std::optional<Claim> claim_of(const control::Group& group, std::string_view peer);

}  // namespace hotbackup::retention
