// SPDX-License-Identifier: Apache-2.0
// The calls that change items or databases: asks the gate, lets LMDB do it, records what really
// happened, whatever the return code. What each refusal of LMDB 0.9.24 leaves behind was tried:
// docs/capture.md.
#include <array>
#include <cstring>

#include "master/capture/environment.h"
#include "master/capture/real_lmdb.h"

namespace hotbackup::capture {
namespace {

using update::OperationKind;

constexpr unsigned kDatabaseFlags =
    MDB_REVERSEKEY | MDB_DUPSORT | MDB_INTEGERKEY | MDB_DUPFIXED | MDB_INTEGERDUP | MDB_REVERSEDUP;

std::string_view view_of(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

/// Bytes as they are before a call. A program may pass a pointer into a page that the call moves;
/// what can lie in such a page is copied, longer values have pages of their own.
class Before {
 public:
  explicit Before(const MDB_val* value) {
    if (value == nullptr || value->mv_data == nullptr) return;
    view_ = view_of(*value);
    if (view_.size() > bytes_.size()) return;
    std::memcpy(bytes_.data(), view_.data(), view_.size());
    view_ = {bytes_.data(), view_.size()};
  }
  Before(const Before&) = delete;
  Before& operator=(const Before&) = delete;
  std::string_view view() const { return view_; }

 private:
  std::array<char, 2048> bytes_;
  std::string_view view_;
};

update::Database describe(MDB_txn* txn, MDB_dbi dbi, const DatabaseTable::Entry& entry) {
  update::Database database;
  unsigned flags = 0;
  (void)real().dbi_flags(txn, dbi, &flags);
  database.flags = flags & kDatabaseFlags;
  database.main = dbi == DatabaseTable::kMain;
  if (entry.name != nullptr) database.name = *entry.name;
  return database;
}

/// Enough of a database for the rules.
update::Database named(MDB_dbi dbi, const DatabaseTable::Entry& entry) {
  return {dbi == DatabaseTable::kMain, entry.name != nullptr ? *entry.name : std::string_view(), 0};
}

/// Codes that LMDB returns before it has touched a page, from every call here.
bool leaves_no_trace(int rc) {
  return rc == EACCES || rc == MDB_BAD_TXN || rc == MDB_BAD_DBI || rc == MDB_DBS_FULL;
}

bool put_leaves_no_trace(int rc, unsigned flags) {
  if (rc == MDB_KEYEXIST) return (flags & (MDB_NOOVERWRITE | MDB_APPEND)) != 0;
  return leaves_no_trace(rc) || rc == EINVAL;
}

}  // namespace

int Environment::gate(bool kept) {
  if (kept && local_only_) {
    if (recorder_.poisoned() == 0) recorder_.before_write();
    return recorder_.poisoned();
  }
  if (const int refusal = recorder_.refusal(); refusal != 0) return refusal;
  if (group_->role() != control::Role::kMaster) return EACCES;
  recorder_.before_write();
  return recorder_.refusal();
}

int Environment::gate(MDB_dbi dbi, const DatabaseTable::Entry& entry, bool kept) {
  // The copy could not be kept in an order that only this program knows.
  if (entry.custom_order && !rules_.keeps_database(named(dbi, entry))) return EACCES;
  const bool is_named = dbi != DatabaseTable::kMain;
  if (is_named && entry.name == nullptr) return EINVAL;
  if (const int refusal = gate(kept); refusal != 0) return refusal;
  if (!is_named) return 0;
  if (!recorder_.may_write_named(dbi)) return EACCES;
  recorder_.wrote_named();
  return 0;
}

/// Whether the item that a cursor is at is kept local.
bool Environment::keeps_at(MDB_cursor* cursor, MDB_dbi dbi,
                           const DatabaseTable::Entry& entry) const {
  if (rules_.empty()) return false;
  MDB_val key{};
  if (real().cursor_get(cursor, &key, nullptr, MDB_GET_CURRENT) != 0) return false;
  return rules_.keeps(named(dbi, entry), view_of(key));
}

int Environment::put(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data, unsigned flags) {
  if (key == nullptr || data == nullptr) return real().put(txn, dbi, key, data, flags);
  const DatabaseTable::Entry entry = databases_.find(dbi);
  const bool kept = rules_.keeps(named(dbi, entry), view_of(*key));
  if (const int refusal = gate(dbi, entry, kept); refusal != 0) return refusal;
  const Before key_before(key);
  const Before value_before((flags & MDB_RESERVE) != 0 ? nullptr : data);
  const int rc = real().put(txn, dbi, key, data, flags);
  if (rc != 0) {
    if (!put_leaves_no_trace(rc, flags)) note_change(kept);
    return rc;
  }
  if (kept) {
    recorder_.keep();
    return 0;
  }
  const update::Database database = describe(txn, dbi, entry);
  if ((flags & MDB_RESERVE) != 0)
    recorder_.reserve(database, key_before.view(), *data);
  else
    recorder_.put(database, key_before.view(), value_before.view());
  return 0;
}

int Environment::del(MDB_txn* txn, MDB_dbi dbi, MDB_val* key, MDB_val* data) {
  if (key == nullptr) return real().del(txn, dbi, key, data);
  const DatabaseTable::Entry entry = databases_.find(dbi);
  const bool kept = rules_.keeps(named(dbi, entry), view_of(*key));
  if (const int refusal = gate(dbi, entry, kept); refusal != 0) return refusal;
  const update::Database database = describe(txn, dbi, entry);
  const bool one_pair = data != nullptr && (database.flags & MDB_DUPSORT) != 0;
  const Before key_before(key);
  const Before value_before(one_pair ? data : nullptr);
  const int rc = real().del(txn, dbi, key, data);
  if (rc == 0 && kept)
    recorder_.keep();
  else if (rc == 0)
    recorder_.add({one_pair ? OperationKind::kDeletePair : OperationKind::kDeleteKey, database,
                   key_before.view(), value_before.view(), 0});
  else if (rc != MDB_NOTFOUND && rc != EINVAL && !leaves_no_trace(rc))
    note_change(kept);
  return rc;
}

int Environment::drop(MDB_txn* txn, MDB_dbi dbi, int del) {
  const DatabaseTable::Entry entry = databases_.find(dbi);
  const bool main = dbi == DatabaseTable::kMain;
  if (main && !recorder_.may_drop_main()) return EACCES;
  const bool kept = rules_.keeps_database(named(dbi, entry));
  if (const int refusal = gate(dbi, entry, kept); refusal != 0) return refusal;
  const update::Database database = describe(txn, dbi, entry);
  const int rc = real().drop(txn, dbi, del);
  if (rc != 0) {
    if (!leaves_no_trace(rc) && rc != EINVAL) note_change(kept);
    return rc;
  }
  const bool deleted = del != 0 && !main;
  // Kept items of this node may go with it; a slave leaves its own where they are.
  if (rules_.reached_by_emptying(database)) recorder_.keep();
  if (!kept)
    recorder_.add({deleted ? OperationKind::kDrop : OperationKind::kClear, database, {}, {}, 0});
  if (main) recorder_.dropped_main();
  if (deleted) databases_.closed(dbi);
  return 0;
}

// Opening what exists changes nothing and passes on every role, MDB_CREATE or not.
int Environment::open_database(MDB_txn* txn, const char* name, unsigned flags, MDB_dbi* dbi) {
  int rc = 0;
  if (!writes(txn)) {
    rc = real().dbi_open(txn, name, flags, dbi);
  } else if (name == nullptr) {
    rc = open_main(txn, flags, dbi);
  } else {
    rc = real().dbi_open(txn, name, flags & ~MDB_CREATE, dbi);
    if (rc == MDB_NOTFOUND && (flags & MDB_CREATE) != 0)
      rc = create_database(txn, name, flags, dbi);
  }
  if (rc == 0) databases_.opened(*dbi, name, writes(txn) ? txn : nullptr);
  return rc;
}

int Environment::create_database(MDB_txn* txn, const char* name, unsigned flags, MDB_dbi* dbi) {
  const bool kept = rules_.keeps_database({false, name, 0});
  if (const int refusal = gate(kept); refusal != 0) return refusal;
  const int rc = real().dbi_open(txn, name, flags, dbi);
  if (rc != 0) {
    if (!leaves_no_trace(rc) && rc != MDB_INCOMPATIBLE && rc != EINVAL) note_change(kept);
    return rc;
  }
  recorder_.created(*dbi);
  recorder_.wrote_named();
  if (kept)
    recorder_.keep();
  else
    recorder_.add({OperationKind::kCreate, {false, name, flags & kDatabaseFlags}, {}, {}, 0});
  return 0;
}

int Environment::open_main(MDB_txn* txn, unsigned flags, MDB_dbi* dbi) {
  unsigned present = 0;
  (void)real().dbi_flags(txn, DatabaseTable::kMain, &present);
  if ((flags & kDatabaseFlags & ~present) == 0) return real().dbi_open(txn, nullptr, flags, dbi);
  if (const int refusal = gate(false); refusal != 0) return refusal;
  const int rc = real().dbi_open(txn, nullptr, flags, dbi);
  if (rc != 0) return rc;
  recorder_.add({OperationKind::kCreate, describe(txn, *dbi, {}), {}, {}, 0});
  return 0;
}

int Environment::cursor_put(MDB_cursor* cursor, MDB_val* key, MDB_val* data, unsigned flags) {
  if (key == nullptr || data == nullptr) return real().cursor_put(cursor, key, data, flags);
  MDB_txn* const txn = real().cursor_txn(cursor);
  const MDB_dbi dbi = real().cursor_dbi(cursor);
  const DatabaseTable::Entry entry = databases_.find(dbi);
  bool kept = rules_.keeps(named(dbi, entry), view_of(*key));
  if ((flags & MDB_CURRENT) != 0) kept = kept && keeps_at(cursor, dbi, entry);
  if (const int refusal = gate(dbi, entry, kept); refusal != 0) return refusal;
  const update::Database database = describe(txn, dbi, entry);
  if ((flags & MDB_CURRENT) != 0) return put_current(cursor, database, key, data, flags);
  if ((flags & MDB_MULTIPLE) != 0) return put_multiple(cursor, database, key, data, flags, kept);

  const Before key_before(key);
  const Before value_before((flags & MDB_RESERVE) != 0 ? nullptr : data);
  const int rc = real().cursor_put(cursor, key, data, flags);
  if (rc != 0) {
    if (!put_leaves_no_trace(rc, flags)) note_change(kept);
    return rc;
  }
  if (kept) {
    recorder_.keep();
    return 0;
  }
  if ((flags & MDB_RESERVE) != 0)
    recorder_.reserve(database, key_before.view(), *data);
  else
    recorder_.put(database, key_before.view(), value_before.view());
  return 0;
}

// LMDB counts in data[1] what it has stored, also when it ends in an error, and moves data[0] on.
int Environment::put_multiple(MDB_cursor* cursor, const update::Database& database, MDB_val* key,
                              MDB_val* data, unsigned flags, bool kept) {
  const Before key_before(key);
  const std::size_t size = data->mv_size;
  const char* const first = static_cast<const char*>(data->mv_data);
  const int rc = real().cursor_put(cursor, key, data, flags);
  if ((database.flags & MDB_DUPFIXED) == 0 || (rc != 0 && leaves_no_trace(rc))) return rc;
  for (std::size_t i = 0; i < data[1].mv_size && !kept; ++i)
    recorder_.put(database, key_before.view(), {first + i * size, size});
  // Nothing stored and no error: the only value of the key was overwritten by itself.
  if (rc == 0 || data[1].mv_size != 0 || !put_leaves_no_trace(rc, flags)) note_change(kept);
  return rc;
}

// Overwrites what the cursor is at, in place: LMDB looks at the key only when the item has to move,
// and at the order of duplicates not at all. So the item is read before and after.
int Environment::put_current(MDB_cursor* cursor, const update::Database& database, MDB_val* key,
                             MDB_val* data, unsigned flags) {
  const bool duplicates = (database.flags & MDB_DUPSORT) != 0;
  MDB_val old_key{}, old_value{};
  const int before = real().cursor_get(cursor, &old_key, &old_value, MDB_GET_CURRENT);
  if (before == MDB_NOTFOUND) return before;  // LMDB would write behind the page's last item
  const Before key_before(before == 0 ? &old_key : nullptr);
  const Before value_before(before == 0 && duplicates ? &old_value : nullptr);
  const Before added((flags & MDB_APPENDDUP) != 0 ? data : nullptr);
  const bool old_kept = before == 0 && rules_.keeps(database, key_before.view());
  const int rc = real().cursor_put(cursor, key, data, flags);
  if (rc != 0) {
    if (!leaves_no_trace(rc)) note_change(old_kept);
    return rc;
  }
  if (old_kept) recorder_.keep();
  if (duplicates && (flags & MDB_APPENDDUP) != 0) {  // then CURRENT only says which key
    if (!old_kept) recorder_.put(database, key_before.view(), added.view());
    return 0;
  }
  MDB_val new_key{}, new_value{};
  if (before != 0 || real().cursor_get(cursor, &new_key, &new_value, MDB_GET_CURRENT) != 0) {
    recorder_.poison(EIO);
    return EIO;
  }
  if (duplicates && !old_kept)
    recorder_.add(
        {OperationKind::kDeletePair, database, key_before.view(), value_before.view(), 0});
  else if (!old_kept && view_of(new_key) != key_before.view())
    recorder_.add({OperationKind::kDeleteKey, database, key_before.view(), {}, 0});
  if (rules_.keeps(database, view_of(new_key)))
    recorder_.keep();
  else if ((flags & MDB_RESERVE) != 0)
    recorder_.reserve(database, view_of(new_key), *data);
  else
    recorder_.put(database, view_of(new_key), view_of(new_value));
  return 0;
}

int Environment::cursor_del(MDB_cursor* cursor, unsigned flags) {
  MDB_txn* const txn = real().cursor_txn(cursor);
  const MDB_dbi dbi = real().cursor_dbi(cursor);
  const DatabaseTable::Entry entry = databases_.find(dbi);
  const bool kept = keeps_at(cursor, dbi, entry);
  if (const int refusal = gate(dbi, entry, kept); refusal != 0) return refusal;
  const update::Database database = describe(txn, dbi, entry);
  const bool one_pair = (database.flags & MDB_DUPSORT) != 0 && (flags & MDB_NODUPDATA) == 0;
  MDB_val key{}, value{};
  const int before = real().cursor_get(cursor, &key, one_pair ? &value : nullptr, MDB_GET_CURRENT);
  const Before key_before(before == 0 ? &key : nullptr);
  const Before value_before(before == 0 && one_pair ? &value : nullptr);
  const int rc = real().cursor_del(cursor, flags);
  if (rc != 0) {
    // A cursor that is at nothing is refused at once; one whose duplicate is not found is not.
    const bool at_key =
        before == 0 || real().cursor_get(cursor, &key, nullptr, MDB_GET_CURRENT) == 0;
    if (at_key && !leaves_no_trace(rc)) note_change(kept);
    return rc;
  }
  if (before != 0) {
    recorder_.poison(EIO);
    return EIO;
  }
  if (kept)
    recorder_.keep();
  else
    recorder_.add({one_pair ? OperationKind::kDeletePair : OperationKind::kDeleteKey, database,
                   key_before.view(), value_before.view(), 0});
  return 0;
}

}  // namespace hotbackup::capture
