// SPDX-License-Identifier: Apache-2.0
// The commit protocol of one environment: CAPTURE sections 2 and 3, in that order. Journal first,
// then LMDB; the commit slot and LMDB's txnid tell after any crash what became of an update.
#pragma once

#include <lmdb.h>

#include "common/control/group.h"
#include "master/capture/exposure.h"
#include "master/capture/recorder.h"

namespace hotbackup::capture {

class CommitProtocol {
 public:
  /// All are borrowed and outlive this.
  CommitProtocol(control::Group& group, control::EnvironmentEntry& entry, MDB_env* env)
      : group_(group), entry_(entry), env_(env) {}

  /// After LMDB's begin, under its writer lock: resolves an update whose fate is open and checks
  /// that the environment stands where captured commits have left it. 0, or the code with which
  /// the transaction's first change is to be refused. May sync the journal.
  int begin(MDB_txn* txn);

  /// Journals what is recorded and lets LMDB commit. Ends the transaction whatever the result; the
  /// recorder is clear when LMDB's writer lock goes. `durable`: the journal is synced first.
  /// On success `number` is the update's.
  int commit(MDB_txn* txn, Recorder& recorder, bool durable, UpdateNumber& number);

  control::EnvironmentEntry& entry() const { return entry_; }

 private:
  /// `last`: LMDB's last txnid, read under its writer lock.
  Result<> resolve(UpdateNumber open, std::uint64_t last);
  Result<journal::Appended> journal_update(Recorder& recorder, TxnId txnid, bool durable,
                                           Claim& claim);
  Result<journal::Appended> append(Recorder& recorder, TxnId txnid, bool durable, Claim& claim,
                                   std::optional<journal::Appended>& open);
  int check_bypass(std::uint64_t last);
  bool is_replaced();
  void tell_at_limit(const Error& error);
  void tell_failed(int rc);
  void void_update(const journal::Appended& appended);
  void advance_walk(std::uint64_t txnid);

  control::Group& group_;
  control::EnvironmentEntry& entry_;
  MDB_env* const env_;
  std::uint64_t inode_ = 0;  // of the data file that is open; 0: not looked at yet
};

/// Of a commit that is said to have succeeded, as it has.
void tell_local_unsynced(control::Group& group, const control::EnvironmentEntry& entry);

}  // namespace hotbackup::capture
