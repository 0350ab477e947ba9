// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/scan.h"

namespace hotbackup::compare {

Result<Scan> Scan::open(lmdb::Transaction& txn, const lmdb::DatabaseInfo& database,
                        const update::KeepLocalRules& rules, bool has_named) {
  Scan scan;
  scan.txn_ = &txn;
  scan.database_ = database;
  scan.rules_ = &rules;
  scan.has_named_ = has_named && database.main;
  MDB_cursor* cursor = nullptr;
  if (const int rc = mdb_cursor_open(txn.get(), database.dbi, &cursor); rc != 0)
    return lmdb::fail_lmdb("opening a cursor", rc);
  scan.cursor_.reset(cursor);
  return scan;
}

Result<std::optional<Scan::Item>> Scan::next() {
  for (;;) {
    MDB_val key{};
    MDB_val value{};
    const int rc = mdb_cursor_get(cursor_.get(), &key, &value, MDB_NEXT);
    if (rc == MDB_NOTFOUND) return std::nullopt;
    if (rc != 0) return lmdb::fail_lmdb("reading an item", rc);
    const lmdb::Cursor::Item item{lmdb::to_view(key), lmdb::to_view(value)};
    if (has_named_) {
      HOTBACKUP_ASSIGN(const bool named, lmdb::is_named_database(*txn_, database_.flags, item));
      if (named) continue;
    }
    if (!rules_->empty() &&
        rules_->keeps({database_.main, database_.name, database_.flags}, item.key)) {
      ++local_;
      continue;
    }
    // Duplicates share the key's bytes in the page.
    if (key.mv_data != key_.mv_data || key.mv_size != key_.mv_size) {
      key_ = key;
      key_hash_ = hash_key(item.key);
    }
    ++items_;
    bytes_ += key.mv_size + value.mv_size;
    return Item{item.key, item.value, key_hash_};
  }
}

}  // namespace hotbackup::compare
