// SPDX-License-Identifier: Apache-2.0
// One database of a snapshot, item by item, in slices of time.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "common/lmdb/environment.h"
#include "tools/compare/hash_tree.h"

namespace hotbackup::compare {

/// Borrows the transaction and the rules. Views of items last as long as the transaction.
class Scan {
 public:
  static Result<Scan> open(lmdb::Transaction& txn, const lmdb::DatabaseInfo& database,
                           const update::KeepLocalRules& rules, bool has_named);

  struct Item {
    std::string_view key;
    std::string_view value;
    ChainHash key_hash;
  };
  /// The next item that is not local; nothing at the end.
  Result<std::optional<Item>> next();

  std::uint64_t items() const { return items_; }
  std::uint64_t local() const { return local_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct CloseCursor {
    void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
  };
  Scan() = default;

  lmdb::Transaction* txn_ = nullptr;
  lmdb::DatabaseInfo database_;
  const update::KeepLocalRules* rules_ = nullptr;
  bool has_named_ = false;
  std::unique_ptr<MDB_cursor, CloseCursor> cursor_;
  MDB_val key_{};  // of the last item, whose hash is known
  ChainHash key_hash_;
  std::uint64_t items_ = 0;
  std::uint64_t local_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace hotbackup::compare
