// SPDX-License-Identifier: Apache-2.0
// The way back of a node whose journal holds updates that its new master's does not: they are kept
// as orphans, what undoes them is fetched, the journal is cut. docs/decisions/0031-rejoin.md.
#pragma once

#include <optional>
#include <string>

#include "common/control/group.h"
#include "common/wire/message.h"
#include "slave/copies.h"
#include "slave/record_file.h"
#include "slave/rejoin_file.h"

namespace hotbackup::slave {

/// The common part of two histories, from this side: the highest of these positions that the
/// journal here has too. kCorrupt for a damaged journal.
Result<std::optional<UpdateNumber>> agree(control::Group& group,
                                          const std::vector<Position>& positions);

/// One rejoin over one link, on one thread, while the group's Applier is stopped: begin, then for
/// each request its parts and answered(), then finish. Whatever ends it before, the copies are as
/// they were, and the next link begins it anew; from finish() on resume() goes on by itself.
class Rejoiner {
 public:
  /// Borrows both.
  Rejoiner(control::Group& group, Copies& copies) : group_(group), copies_(copies) {}

  /// Keeps what comes after `common` as orphans, durably, and lists what it touched. The copies are
  /// settled: the applied file says what they hold. kRefused when something cannot be undone.
  Result<> begin(const Position& common, const std::string& master);
  /// What to ask for next; nothing when all was answered.
  Result<std::optional<wire::Fetch>> next_request();
  Result<> part(EnvironmentNumber environment, std::string_view body);
  /// All answers show the same number. kProtocol where they do not.
  Result<> answered(const Position& at);
  /// Everything is here: durable, then the journal ends at the common position, and the node is a
  /// slave. The applier undoes and catches up in one, once the journal reaches what was fetched.
  Result<> finish();

  /// Orphans in the set that begin() wrote.
  std::uint64_t orphans() const { return orphans_; }
  std::uint64_t bytes() const { return items_ ? items_->offset() : 0; }

  /// The master's history holds everything here after all: what was kept is none of an orphan.
  /// kRefused when the copies were touched already.
  static Result<> call_off(control::Group& group);

  /// After a start: does what finish() had begun. Nothing to do is no error.
  static Result<> resume(control::Group& group);

 private:
  Result<> keep(const Position& common, const std::string& master);

  control::Group& group_;
  Copies& copies_;
  Rejoin state_;
  std::uint64_t orphans_ = 0;
  std::optional<RecordFile> wanted_;
  std::uint64_t wanted_bytes_ = 0;
  std::optional<RecordFile> items_;
  std::optional<Position> at_;
};

/// Where history is not kept far enough back: updates since the last that this master is known to
/// have are kept as orphans, a copy of each environment as PATH.replaced-at-N, and the journal
/// begins anew, so that the next link seeds. The applier is stopped. kNoSpace when the disk is
/// full; then nothing has been given up.
Result<> begin_anew(control::Group& group, Copies& copies, const std::string& master);

/// What was fetched, for the applier: undone before the first update that it applies.
/// Nothing when no rejoin has come that far.
Result<std::optional<Rejoin>> pending_undo(const control::Group& group);

}  // namespace hotbackup::slave
