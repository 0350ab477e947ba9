// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/kept_items.h"

#include "common/base/bytes.h"
#include "common/lmdb/resident_limit.h"

namespace hotbackup::lmdb {
namespace {

constexpr std::uint64_t kItemsBetweenTrims = 4096;

/// Whether this item of the database is no record of a named one.
Result<bool> is_item(Transaction& txn, const update::Database& database,
                     const Cursor::Item& record) {
  if (!database.main) return true;
  HOTBACKUP_ASSIGN(const bool named, is_named_database(txn, database.flags, record));
  return !named;
}

Result<> put(Transaction& txn, MDB_dbi dbi, std::string_view key, std::string_view value) {
  MDB_val k = to_val(key);
  MDB_val v = to_val(value);
  if (const int rc = mdb_put(txn.get(), dbi, &k, &v, 0); rc != 0)
    return fail_lmdb("carrying over kept item " + printable(key), rc);
  return {};
}

}  // namespace

// The cursor is placed anew after each deletion: where LMDB leaves it depends on the database.
Result<bool> clear_but_kept(Transaction& txn, MDB_dbi dbi, const update::Database& database,
                            const update::KeepLocalRules& rules) {
  unsigned flags = 0;
  if (const int rc = mdb_dbi_flags(txn.get(), dbi, &flags); rc != 0)
    return fail_lmdb("reading a database's flags", rc);
  const update::Database described{database.main, database.name, flags & kDatabaseFlags};
  MDB_cursor* opened = nullptr;
  if (const int rc = mdb_cursor_open(txn.get(), dbi, &opened); rc != 0)
    return fail_lmdb("opening a cursor", rc);
  const std::unique_ptr<MDB_cursor, void (*)(MDB_cursor*)> cursor(opened, mdb_cursor_close);
  bool some_kept = false;
  std::uint64_t looked = 0;
  std::string last;
  MDB_val key{};
  MDB_val value{};
  int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST);
  while (rc == 0) {
    if (++looked % kItemsBetweenTrims == 0) trim_resident();
    const bool keeps = rules.keeps(described, to_view(key));
    bool stays = keeps;
    if (!keeps) {
      HOTBACKUP_ASSIGN(const bool item, is_item(txn, described, {to_view(key), to_view(value)}));
      stays = !item;
    }
    some_kept |= keeps;
    if (stays) {
      rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT_NODUP);
      if (rc == MDB_NOTFOUND) break;
      continue;
    }
    last = to_view(key);
    const bool duplicates = (flags & MDB_DUPSORT) != 0;
    rc = mdb_cursor_del(cursor.get(), duplicates ? MDB_NODUPDATA : 0);
    if (rc != 0) break;
    key = to_val(last);
    rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
  }
  if (rc != 0 && rc != MDB_NOTFOUND) return fail_lmdb("emptying around kept items", rc);
  return some_kept;
}

Result<std::vector<std::pair<std::string, std::string>>> kept_items(
    Transaction& txn, MDB_dbi dbi, const update::Database& database,
    const update::KeepLocalRules& rules) {
  std::vector<std::pair<std::string, std::string>> kept;
  HOTBACKUP_ASSIGN(auto cursor, Cursor::open(txn, dbi));
  for (;;) {
    HOTBACKUP_ASSIGN(const auto item, cursor.next());
    if (!item) return kept;
    if (!rules.keeps(database, item->key)) continue;
    HOTBACKUP_ASSIGN(const bool is, is_item(txn, database, *item));
    if (is) kept.emplace_back(item->key, item->value);
  }
}

Result<bool> copy_kept(Environment& from, Environment& to, const update::KeepLocalRules& rules) {
  HOTBACKUP_ASSIGN(auto view, Transaction::begin(from, /*read_only=*/true));
  HOTBACKUP_ASSIGN(auto txn, Transaction::begin(to, /*read_only=*/false));
  HOTBACKUP_ASSIGN(const auto all, databases(view));
  bool any = false;
  for (const DatabaseInfo& info : all) {
    const update::Database database{info.main, info.name, info.flags};
    const bool whole = rules.keeps_database(database);
    if (!whole && !rules.reached_by_emptying(database)) continue;
    HOTBACKUP_ASSIGN(const auto items, kept_items(view, info.dbi, database, rules));
    if (!whole && items.empty()) continue;
    any = true;
    MDB_dbi dbi = 0;
    const int rc = info.main ? mdb_dbi_open(txn.get(), nullptr, info.flags, &dbi)
                             : open_named(txn, info.name, info.flags | MDB_CREATE, &dbi);
    if (rc != 0) return fail_lmdb("making database " + printable(info.name), rc);
    for (const auto& [key, value] : items) HOTBACKUP_TRY(put(txn, dbi, key, value));
  }
  if (any) HOTBACKUP_TRY(txn.commit());
  return any;
}

Result<std::vector<std::uint64_t>> count_kept(Transaction& txn, const DatabaseInfo& info,
                                              bool has_named, const update::KeepLocalRules& rules) {
  std::vector<std::uint64_t> counts(rules.rules().size());
  const update::Database database{info.main, info.name, info.flags};
  if (!rules.reached_by_emptying(database)) return counts;
  HOTBACKUP_ASSIGN(auto cursor, Cursor::open(txn, info.dbi));
  for (std::uint64_t looked = 1;; ++looked) {
    if (looked % kItemsBetweenTrims == 0) trim_resident();
    HOTBACKUP_ASSIGN(const auto item, cursor.next());
    if (!item) return counts;
    const update::KeepLocalRule* rule = rules.find(database, item->key);
    if (rule == nullptr) continue;
    if (has_named) {
      HOTBACKUP_ASSIGN(const bool is, is_item(txn, database, *item));
      if (!is) continue;
    }
    ++counts[static_cast<std::size_t>(rule - rules.rules().data())];
  }
}

}  // namespace hotbackup::lmdb
