// SPDX-License-Identifier: Apache-2.0
// The open LMDB transactions of one batch of updates: at most one in each environment.
#pragma once

#include <map>
#include <optional>

#include "common/control/group.h"
#include "common/journal/frame.h"
#include "common/lmdb/apply_operation.h"
#include "common/lmdb/resident_limit.h"
#include "slave/copies.h"

namespace hotbackup::slave {

/// Lives on the applier's thread. Nothing is visible before commit(); abort() or destruction leaves
/// the copies as they were.
class ApplyBatch {
 public:
  /// Borrows both.
  ApplyBatch(control::Group& group, Copies& copies) : group_(group), copies_(copies) {}
  ~ApplyBatch() { abort(); }
  ApplyBatch(const ApplyBatch&) = delete;
  ApplyBatch& operator=(const ApplyBatch&) = delete;

  /// Performs the operations of an update's frame, beginning a transaction in its environment where
  /// none is open. May wait for LMDB's writer lock. MDB_MAP_FULL: see make_room_after_failure.
  Result<> apply(const journal::FrameView& frame);
  /// The same for a body that is no update's: what a rejoin fetched. `more` of these bytes are to
  /// come.
  Result<> apply_body(EnvironmentNumber environment, std::string_view body, std::uint64_t more);
  /// No large value waits for its rest.
  bool whole() const;
  /// Commits all. On error some environments may show the batch and others not: it must be applied
  /// again, through the same update at least.
  Result<> commit();
  void abort();

  /// After abort(): more room in the copy whose map was full.
  Result<> make_room_after_failure();

  /// Where apply() failed, for a person; database and key are empty where it was not an operation.
  struct Failure {
    std::string environment;
    std::string database;
    std::string key;
  };
  const Failure& failure() const { return failure_; }

  bool empty() const { return open_.empty(); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Open {
    Copy* copy;
    control::EnvironmentEntry* entry;
    lmdb::Transaction txn;
    lmdb::OperationApplier applier;
  };
  Result<Open*> open(EnvironmentNumber environment, std::uint64_t bytes);
  Result<Open*> perform(EnvironmentNumber environment, std::string_view body, std::uint64_t bytes);
  tl::unexpected<Error> fail_in(EnvironmentNumber environment, Error error);

  control::Group& group_;
  Copies& copies_;
  std::map<EnvironmentNumber, Open> open_;
  std::uint64_t bytes_ = 0;  // of journal
  std::uint64_t operations_ = 0;
  std::optional<EnvironmentNumber> failed_;
  Failure failure_;
  std::optional<lmdb::ResidentLimit> resident_limit_;
};

}  // namespace hotbackup::slave
