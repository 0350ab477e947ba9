// SPDX-License-Identifier: Apache-2.0
// Read snapshots of all environments of a group at one update number, on its master or on a slave.
// DESIGN section 9.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "common/control/group.h"
#include "common/lmdb/environment.h"
#include "common/update/codec.h"

namespace hotbackup::master {

/// One environment of a cut.
struct CutEnvironment {
  explicit CutEnvironment(EnvironmentNumber n, lmdb::Environment e)
      : number(n), environment(std::move(e)) {}
  Result<> begin();
  Result<> check(control::Group& group, os::SharedLock& lock);

  const EnvironmentNumber number;
  update::KeepLocalRules rules;
  lmdb::Environment environment;
  std::optional<lmdb::Transaction> snapshot;
};

/// While its environments live, their snapshots keep LMDB from using freed pages again. Only one at
/// a time in a process for one group, since liblmdb opens a file once: the second gets kBusy.
class Cut {
 public:
  /// Master: under the group's journal lock, with no commit slot open; kBusy when a slot stays open
  /// for `wait` (the text names environment and pid). Slave: between two batches of its applier;
  /// kBusy when the copies are not level for `wait`. Environments are those that have joined and
  /// have a data file. Blocks on the disk.
  static Result<Cut> take(control::Group& group, std::chrono::milliseconds wait);

  /// Published: the journal is synced through it.
  Position position;
  std::vector<update::EnvironmentBody> bodies;
  std::vector<std::unique_ptr<CutEnvironment>> environments;  // the same, in the same order

 private:
  Result<> open_all(control::Group& group);
  Result<bool> begin_all(control::Group& group, std::chrono::steady_clock::time_point deadline);
  Result<bool> begin_copies(control::Group& group, std::chrono::steady_clock::time_point deadline);

  std::uint32_t joined_ = 0;  // entries of the group's table looked at
};

}  // namespace hotbackup::master
