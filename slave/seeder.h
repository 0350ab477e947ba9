// SPDX-License-Identifier: Apache-2.0
// Receives a seed: a full copy of all environments at one update number.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/control/group.h"
#include "common/update/codec.h"
#include "slave/copies.h"
#include "slave/seed_target.h"

namespace hotbackup::slave {

/// One seed: begin, part …, end, all on one thread (LMDB's writer lock belongs to a thread), while
/// the group's Applier is stopped. Content is built in new files beside the targets; end() puts
/// them in place. Destroyed before end() has succeeded, it leaves the copies as they were; killed
/// in the middle of end(), the marker file `seeding` makes the next start fetch a fresh seed.
class Seeder {
 public:
  /// Borrows both.
  Seeder(control::Group& group, Copies& copies);
  ~Seeder();
  Seeder(const Seeder&) = delete;
  Seeder& operator=(const Seeder&) = delete;

  /// kRefused, naming the path, when a target holds items that no unfinished seed of ours put
  /// there; `over_copies`: the copies of this group, which the master knows to be a prefix of its
  /// history, may hold them. The group's id must have been adopted before.
  Result<> begin(const Position& at, const std::vector<update::EnvironmentBody>& environments,
                 bool over_copies = false);
  /// `body` as SeedPart carries it. kNoSpace when the disk is full.
  Result<> part(EnvironmentNumber environment, std::string_view body);
  /// Puts everything in place, restarts the journal after `at`, sets the group's epoch and applied
  /// number. kProtocol when `items` differs from what came. Start the Applier afterwards.
  Result<> end(std::uint64_t items);

  std::uint64_t items() const { return items_; }
  std::uint64_t bytes() const { return bytes_; }

  /// Undoes what a killed end() left: after it the journal says number 0. Applier::start calls it.
  static Result<> discard_unfinished(control::Group& group);

 private:
  Result<std::string> place_for(const update::EnvironmentBody& environment,
                                const std::vector<std::string>& ours) const;
  Result<> add_copies(std::vector<std::string>& ours) const;
  Result<> take_over();

  control::Group& group_;
  Copies& copies_;
  Position at_;
  std::map<EnvironmentNumber, std::unique_ptr<SeedTarget>> targets_;
  std::uint64_t items_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace hotbackup::slave
