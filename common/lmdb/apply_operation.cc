// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/apply_operation.h"

#include "common/base/bytes.h"
#include "common/lmdb/kept_items.h"

namespace hotbackup::lmdb {
namespace {

std::string described(const update::Operation& operation) {
  std::string text(update::operation_kind_name(operation.kind));
  text += operation.database.main ? " in the main database"
                                  : " in database " + printable(operation.database.name);
  if (!operation.key.empty()) text += ", key " + printable(operation.key.substr(0, 64));
  return text;
}

/// Whether the operation concerns nothing but what stays as it is here.
bool is_kept(const update::KeepLocalRules& rules, const update::Operation& operation) {
  using update::OperationKind;
  switch (operation.kind) {
    case OperationKind::kPut:
    case OperationKind::kPutLarge:
    case OperationKind::kDeleteKey:
    case OperationKind::kDeletePair:
      return rules.keeps(operation.database, operation.key);
    case OperationKind::kCreate:
    case OperationKind::kClear:
    case OperationKind::kDrop:
      return rules.keeps_database(operation.database);
    case OperationKind::kValuePart:
      break;
  }
  return false;
}

Error contradiction(const char* what) {
  return Error(ErrorCode::kCorrupt, std::string("operations contradict each other: ") + what);
}

}  // namespace

Result<DatabaseHandles::Handle> DatabaseHandles::open(Transaction& txn,
                                                      const update::Database& database) {
  const std::string_view name = database.main ? std::string_view{} : database.name;
  const unsigned wanted = database.flags & kDatabaseFlags;
  const auto known = handles_.find(name);
  if (known != handles_.end()) {
    const unsigned has = known->second.flags;
    if (has == wanted || (database.main && (wanted & ~has) == 0)) return known->second;
  }
  Handle handle;
  if (database.main) {
    // liblmdb would end the process at the commit.
    if ((wanted & MDB_DUPSORT) != 0 && has_opened_named(txn))
      return fail_lmdb("the main database becomes DUPSORT while named ones are open",
                       MDB_INCOMPATIBLE);
    if (const int rc = mdb_dbi_open(txn.get(), nullptr, wanted, &handle.dbi); rc != 0)
      return fail_lmdb("opening the main database", rc);
  } else {
    if (name.empty() || name.find('\0') != std::string_view::npos)
      return fail(contradiction("a named database without a usable name"));
    const int rc = open_named(txn, std::string(name), 0, &handle.dbi);
    if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE) return create(txn, std::string(name), wanted);
    if (rc != 0) return fail_lmdb("opening database " + printable(name), rc);
  }
  if (const int rc = mdb_dbi_flags(txn.get(), handle.dbi, &handle.flags); rc != 0)
    return fail_lmdb("reading a database's flags", rc);
  handle.flags &= kDatabaseFlags;
  if (!database.main && handle.flags != wanted)
    return make_anew(txn, std::string(name), handle.dbi, wanted);
  handles_.insert_or_assign(std::string(name), handle);
  return handle;
}

// A plain item of the main database with this name makes way.
Result<DatabaseHandles::Handle> DatabaseHandles::create(Transaction& txn, const std::string& name,
                                                        unsigned flags) {
  HOTBACKUP_ASSIGN(const auto main, open(txn, {true, {}, 0}));
  MDB_val key = to_val(name);
  MDB_val there{};
  if (rules_.keeps({true, {}, 0}, name) && mdb_get(txn.get(), main.dbi, &key, &there) == 0)
    return fail(ErrorCode::kRefused, "keep-local item " + printable(name) +
                                         " of the main database stands where a database of this "
                                         "name belongs");
  int rc = mdb_del(txn.get(), main.dbi, &key, nullptr);
  Handle handle{0, flags};
  if (rc == 0 || rc == MDB_NOTFOUND) rc = open_named(txn, name, flags | MDB_CREATE, &handle.dbi);
  if (rc != 0 && (main.flags & (MDB_DUPSORT | MDB_INTEGERKEY)) != 0)
    return fail_lmdb("making database " + printable(name) +
                         ": the main one is DUPSORT or INTEGERKEY, and can hold none",
                     rc);
  if (rc != 0) return fail_lmdb("making database " + printable(name), rc);
  handles_.insert_or_assign(name, handle);
  return handle;
}

/// With other flags and the kept items that it had.
Result<DatabaseHandles::Handle> DatabaseHandles::make_anew(Transaction& txn,
                                                           const std::string& name, MDB_dbi old,
                                                           unsigned flags) {
  const update::Database database{false, name, flags};
  std::vector<std::pair<std::string, std::string>> kept;
  if (rules_.reached_by_emptying(database)) {
    HOTBACKUP_ASSIGN(kept, kept_items(txn, old, database, rules_));
  }
  handles_.erase(name);
  if (const int rc = mdb_drop(txn.get(), old, 1); rc != 0)
    return fail_lmdb("deleting database " + printable(name), rc);
  HOTBACKUP_ASSIGN(const auto handle, create(txn, name, flags));
  for (const auto& [key, value] : kept) {
    MDB_val k = to_val(key), v = to_val(value);
    if (const int rc = mdb_put(txn.get(), handle.dbi, &k, &v, 0); rc != 0)
      return fail_lmdb("putting kept item " + printable(key) + " into database " + printable(name) +
                           ", whose flags change",
                       rc);
  }
  return handle;
}

Result<> DatabaseHandles::drop(Transaction& txn, std::string_view name) {
  const update::Database database{false, name, 0};
  if (rules_.keeps_database(database)) return {};
  const auto known = handles_.find(name);
  if (known != handles_.end()) handles_.erase(known);
  MDB_dbi dbi = 0;
  int rc = open_named(txn, std::string(name), 0, &dbi);
  if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE) return {};
  if (rc != 0) return fail_lmdb("opening database " + printable(name), rc);
  if (rules_.reached_by_emptying(database)) {
    HOTBACKUP_ASSIGN(const bool some_kept, clear_but_kept(txn, dbi, database, rules_));
    if (some_kept) return {};
  }
  rc = mdb_drop(txn.get(), dbi, 1);
  if (rc != 0) return fail_lmdb("deleting database " + printable(name), rc);
  return {};
}

Result<> DatabaseHandles::clear(Transaction& txn, const update::Database& database) {
  HOTBACKUP_ASSIGN(const auto handle, open(txn, database));
  if (rules_.reached_by_emptying(database)) {
    HOTBACKUP_TRY(clear_but_kept(txn, handle.dbi, database, rules_));
  } else if (const int rc = mdb_drop(txn.get(), handle.dbi, 0); rc != 0) {
    return fail_lmdb("emptying", rc);
  }
  return {};
}

// Emptying the main database at once would delete what lies in kept databases.
Result<> DatabaseHandles::clear_all(Transaction& txn) {
  handles_.clear();
  HOTBACKUP_ASSIGN(const auto all, databases(txn));
  for (auto database = all.rbegin(); database != all.rend(); ++database) {
    if (!database->main) {
      HOTBACKUP_TRY(drop(txn, database->name));
    } else if (!rules_.empty()) {
      HOTBACKUP_TRY(clear_but_kept(txn, database->dbi, {true, {}, database->flags}, rules_));
    } else if (const int rc = mdb_drop(txn.get(), database->dbi, 0); rc != 0) {
      return fail_lmdb("emptying the main database", rc);
    }
  }
  return {};
}

Result<> OperationApplier::apply(Transaction& txn, const update::Operation& operation) {
  using update::OperationKind;
  if (operation.kind == OperationKind::kValuePart) return value_part(operation.value);
  if (value_left_ != 0) return fail(contradiction("a large value ends early"));
  if (is_kept(handles_.rules(), operation)) {
    value_ = nullptr;
    if (operation.kind == OperationKind::kPutLarge) value_left_ = operation.value_bytes;
    return {};
  }
  Result<> done;
  switch (operation.kind) {
    case OperationKind::kPut:
      done = put(txn, operation);
      break;
    case OperationKind::kPutLarge:
      done = start_large_value(txn, operation);
      break;
    case OperationKind::kDeleteKey:
    case OperationKind::kDeletePair:
      done = remove(txn, operation);
      break;
    case OperationKind::kCreate: {
      auto handle = handles_.open(txn, operation.database);
      if (!handle) done = fail(std::move(handle).error());
      break;
    }
    case OperationKind::kClear:
    case OperationKind::kDrop:
      if (operation.database.main) {
        done = handles_.clear_all(txn);
      } else if (operation.kind == OperationKind::kDrop) {
        done = handles_.drop(txn, operation.database.name);
      } else {
        done = handles_.clear(txn, operation.database);
      }
      break;
    case OperationKind::kValuePart:
      break;
  }
  if (!done) return fail(std::move(done).error().with_context(described(operation)));
  return {};
}

// Sorted input fills pages from left to right. A key or duplicate that is not in order here (the
// program sorts by a comparator of its own) goes where this database's order wants it.
int OperationApplier::store(Transaction& txn, const DatabaseHandles::Handle& handle, MDB_val& key,
                            MDB_val& value, unsigned flags) {
  if (!append_) return mdb_put(txn.get(), handle.dbi, &key, &value, flags);
  int rc = mdb_put(txn.get(), handle.dbi, &key, &value, flags | MDB_APPEND);
  if ((handle.flags & MDB_DUPSORT) == 0)
    return rc == MDB_KEYEXIST ? mdb_put(txn.get(), handle.dbi, &key, &value, flags) : rc;
  if (rc == MDB_KEYEXIST) rc = append_duplicate(txn, handle.dbi, key, value);
  if (rc != 0) return rc;
  last_key_ = to_view(key);
  last_value_ = to_view(value);
  return 0;
}

// MDB_APPENDDUP out of order would spoil the transaction: so the order is checked before.
int OperationApplier::append_duplicate(Transaction& txn, MDB_dbi dbi, MDB_val& key,
                                       MDB_val& value) {
  const MDB_val last = to_val(last_value_);
  const bool in_order = last_key_ == to_view(key) && mdb_dcmp(txn.get(), dbi, &last, &value) < 0;
  return mdb_put(txn.get(), dbi, &key, &value, in_order ? MDB_APPENDDUP : 0);
}

// A named database of a later state stands where an item of the main database belongs.
Result<> OperationApplier::make_way(Transaction& txn, std::string_view name) {
  HOTBACKUP_TRY(handles_.drop(txn, name));
  MDB_dbi dbi = 0;
  if (open_named(txn, std::string(name), 0, &dbi) == 0)
    return fail(ErrorCode::kRefused, "database " + printable(name) +
                                         " holds keep-local items, so no item of the main "
                                         "database can take its place");
  return {};
}

Result<> OperationApplier::put(Transaction& txn, const update::Operation& operation) {
  HOTBACKUP_ASSIGN(const auto handle, handles_.open(txn, operation.database));
  MDB_val key = to_val(operation.key);
  MDB_val value = to_val(operation.value);
  // The main database may have become DUPSORT later than this operation: still one value a key.
  if ((handle.flags & MDB_DUPSORT) != 0 && (operation.database.flags & MDB_DUPSORT) == 0)
    mdb_del(txn.get(), handle.dbi, &key, nullptr);
  int rc = store(txn, handle, key, value, 0);
  if (rc == MDB_INCOMPATIBLE && operation.database.main) {
    HOTBACKUP_TRY(make_way(txn, operation.key));
    rc = store(txn, handle, key, value, 0);
  }
  if (rc != 0) return fail_lmdb("storing an item", rc);
  return {};
}

Result<> OperationApplier::start_large_value(Transaction& txn, const update::Operation& operation) {
  HOTBACKUP_ASSIGN(const auto handle, handles_.open(txn, operation.database));
  MDB_val key = to_val(operation.key);
  MDB_val value{operation.value_bytes, nullptr};
  int rc = store(txn, handle, key, value, MDB_RESERVE);
  if (rc == MDB_INCOMPATIBLE && operation.database.main) {
    HOTBACKUP_TRY(make_way(txn, operation.key));
    value = {operation.value_bytes, nullptr};
    rc = store(txn, handle, key, value, MDB_RESERVE);
  }
  if (rc != 0) return fail_lmdb("storing an item", rc);
  value_ = static_cast<char*>(value.mv_data);
  value_left_ = operation.value_bytes;
  return {};
}

Result<> OperationApplier::value_part(std::string_view bytes) {
  if (bytes.size() > value_left_) return fail(contradiction("a large value is longer than said"));
  if (value_ != nullptr) {
    std::memcpy(value_, bytes.data(), bytes.size());
    value_ += bytes.size();
  }
  value_left_ -= bytes.size();
  return {};
}

Result<> OperationApplier::remove(Transaction& txn, const update::Operation& operation) {
  HOTBACKUP_ASSIGN(const auto handle, handles_.open(txn, operation.database));
  MDB_val key = to_val(operation.key);
  MDB_val value = to_val(operation.value);
  const bool pair = operation.kind == update::OperationKind::kDeletePair;
  if (operation.database.main) {
    // A named database of a later state may have this name: then the item is gone already, and
    // trying to delete it would spoil the transaction.
    MDB_val there{};
    if (mdb_get(txn.get(), handle.dbi, &key, &there) == 0) {
      HOTBACKUP_ASSIGN(const bool named,
                       is_named_database(txn, handle.flags, {operation.key, to_view(there)}));
      if (named) return {};
    }
  }
  const int rc = mdb_del(txn.get(), handle.dbi, &key, pair ? &value : nullptr);
  if (rc != 0 && rc != MDB_NOTFOUND) return fail_lmdb("deleting an item", rc);
  return {};
}

}  // namespace hotbackup::lmdb
