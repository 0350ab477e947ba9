// SPDX-License-Identifier: Apache-2.0
// Which database a handle of one environment means. LMDB cannot tell the name of a handle, so it
// is remembered when the handle is opened.
#pragma once

#include <lmdb.h>

#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace hotbackup::capture {

/// Any thread may call any of these: readers open databases too.
class DatabaseTable {
 public:
  static constexpr MDB_dbi kMain = 1;  // LMDB's fixed handle of the unnamed database

  struct Entry {
    const std::string* name = nullptr;  // nullptr: main, or a handle that was never opened
    bool custom_order = false;          // the program set its own comparison
    MDB_txn* opened_in = nullptr;       // a write transaction that is open: its abort closes it
  };

  /// `writer`: the write transaction that opens it; nullptr of a reader.
  void opened(MDB_dbi dbi, const char* name, MDB_txn* writer);
  /// A write transaction is about to end; before LMDB lets go of its lock, since the next one may
  /// have the same handle. What it opened goes to `parent` (nullptr: stays open), or is closed.
  void ended(MDB_txn* writer, MDB_txn* parent, bool commits);
  void closed(MDB_dbi dbi);
  void set_custom_order(MDB_dbi dbi);
  Entry find(MDB_dbi dbi) const;

 private:
  Entry& at(MDB_dbi dbi);

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  std::set<std::string> names_;  // never shrinks: entries point into it
};

}  // namespace hotbackup::capture
