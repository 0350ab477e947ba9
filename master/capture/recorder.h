// SPDX-License-Identifier: Apache-2.0
// What one write transaction of an environment, with the transactions nested in it, has done so
// far: the frames of its update, not yet numbered.
//
// One for each environment, used again and again. LMDB lets one thread at a time write, and only
// that thread calls anything here but top() and contains().
#pragma once

#include <lmdb.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/journal/pending_update.h"
#include "common/update/codec.h"

namespace hotbackup::capture {

class Recorder {
 public:
  /// Borrows the journal's directory for spill files; nullptr where nothing can be recorded.
  explicit Recorder(os::Directory* journal_directory);

  /// The innermost open write transaction; nullptr: none. Any thread may ask.
  MDB_txn* top() const { return top_.load(std::memory_order_acquire); }
  /// Whether this is an open write transaction, innermost or not. Any thread may ask.
  bool contains(MDB_txn* txn) const;
  /// The same in a child after a fork, where another thread may have held the lock for ever: then
  /// true of any.
  bool may_contain(MDB_txn* txn) const;
  bool is_nested(MDB_txn* txn) const;

  /// A write transaction has begun. `refusal` is what its first change returns, or 0.
  void begin(MDB_txn* txn, int refusal);
  void begin_nested(MDB_txn* txn);

  /// Before each call that writes: stores what the call before it left open.
  void before_write();

  void add(const update::Operation& operation);
  /// One item, split where it is long.
  void put(const update::Database& database, std::string_view key, std::string_view value);
  /// An item whose value the program fills in later, at `data`.
  void reserve(const update::Database& database, std::string_view key, const MDB_val& data);
  /// A call changed no item but may have made LMDB's txnid advance.
  void touch() { levels_.back().touched = true; }
  /// A call may have changed keep-local data, which is not recorded.
  void keep() { levels_.back().kept = true; }
  /// Something can no longer be recorded: no part of the transaction may be committed.
  void poison(int code);
  /// What every further change returns, or 0.
  int refusal() const { return refusal_; }
  int poisoned() const { return poisoned_; }

  /// Writing to named databases and emptying the main one in one transaction leaves more than one
  /// can see from outside (docs/capture.md), so the two are kept apart.
  bool may_write_named(MDB_dbi dbi) const;
  bool may_drop_main() const;
  void wrote_named() { levels_.back().wrote_named = true; }
  void dropped_main();
  void created(MDB_dbi dbi);

  /// Before LMDB's commit of a nested transaction, and after it or an abort.
  void prepare_nested_commit(MDB_txn* txn);
  void end_nested(MDB_txn* txn, bool committed);

  /// Ends recording: everything is in update(). The result is 0 or the code to fail with.
  int finish();
  bool changed() const { return levels_.front().changed; }
  bool touched() const { return levels_.front().touched; }
  bool kept() const { return levels_.front().kept; }
  journal::PendingUpdate& update() { return *pending_; }
  /// Forgets the transaction. Before LMDB releases its writer lock: then the next one may begin.
  void clear();

 private:
  struct Level {
    MDB_txn* txn = nullptr;
    bool marked = false;
    std::uint64_t mark = 0;  // where this nested transaction's operations begin
    bool changed = false;
    bool touched = false;
    bool kept = false;
    bool wrote_named = false;
    bool dropped_main = false;
  };
  struct Reserved {
    update::Database database;
    std::string key;
    MDB_val data{};
    std::size_t level = 0;
  };

  void close_body();
  void flush_reserved();
  std::size_t index_of(MDB_txn* txn) const;

  std::optional<journal::PendingUpdate> pending_;
  std::optional<update::BodyWriter> writer_;
  std::optional<Reserved> reserved_;
  std::vector<MDB_dbi> created_;  // since the main database was emptied
  int refusal_ = 0;
  int poisoned_ = 0;

  mutable std::mutex levels_mutex_;  // held to change levels_, and by other threads to look
  std::vector<Level> levels_;
  std::atomic<MDB_txn*> top_{nullptr};
};

}  // namespace hotbackup::capture
