// SPDX-License-Identifier: Apache-2.0
// Performs journalled operations on an environment. Absolute: twice does the same as once, also
// over a state that later operations have already reached. What the keep-local rules name is left
// alone, whatever an operation says.
#pragma once

#include <map>
#include <string>

#include "common/lmdb/environment.h"
#include "common/update/keep_local.h"
#include "common/update/operation.h"

namespace hotbackup::lmdb {

/// Database handles of one environment by name. forget() after every aborted transaction; after a
/// commit they stay valid.
class DatabaseHandles {
 public:
  struct Handle {
    MDB_dbi dbi = 0;
    unsigned flags = 0;  // what the database really has
  };

  /// The database with these flags: made if missing, and made anew if it is a named one with other
  /// flags. Flags of the main database are only added; MDB_INCOMPATIBLE where it becomes DUPSORT
  /// and has_opened_named: no named database can be used beside that, and the environment has to be
  /// opened anew.
  Result<Handle> open(Transaction& txn, const update::Database& database);
  /// Deletes a named database; one that is missing is no error. Kept items stay, and the database
  /// with them.
  Result<> drop(Transaction& txn, std::string_view name);
  /// Deletes every item of a database that is not kept.
  Result<> clear(Transaction& txn, const update::Database& database);
  /// Deletes every named database and every item that is not kept.
  Result<> clear_all(Transaction& txn);
  void forget() { handles_.clear(); }

  /// From the next operation on.
  void set_rules(update::KeepLocalRules rules) { rules_ = std::move(rules); }
  const update::KeepLocalRules& rules() const { return rules_; }

 private:
  Result<Handle> create(Transaction& txn, const std::string& name, unsigned flags);
  Result<Handle> make_anew(Transaction& txn, const std::string& name, MDB_dbi old, unsigned flags);

  update::KeepLocalRules rules_;
  std::map<std::string, Handle, std::less<>> handles_;  // "" is main: no database has that name
};

/// Performs the operations of one environment in order. A large value is filled in place, across
/// calls; `value_open` says that parts are still due.
class OperationApplier {
 public:
  /// `append`: items come in the order of their database and go behind what is there.
  explicit OperationApplier(DatabaseHandles& handles, bool append = false)
      : handles_(handles), append_(append) {}

  /// kCorrupt where operations contradict each other; else LMDB's error.
  Result<> apply(Transaction& txn, const update::Operation& operation);
  bool value_open() const { return value_left_ != 0; }
  void reset() { value_left_ = 0; }

 private:
  Result<> put(Transaction& txn, const update::Operation& operation);
  Result<> start_large_value(Transaction& txn, const update::Operation& operation);
  Result<> make_way(Transaction& txn, std::string_view name);
  Result<> value_part(std::string_view bytes);
  Result<> remove(Transaction& txn, const update::Operation& operation);
  int store(Transaction& txn, const DatabaseHandles::Handle& handle, MDB_val& key, MDB_val& value,
            unsigned flags);
  int append_duplicate(Transaction& txn, MDB_dbi dbi, MDB_val& key, MDB_val& value);

  DatabaseHandles& handles_;
  const bool append_;
  std::string last_key_;  // of the pair stored last in a DUPSORT database, when appending
  std::string last_value_;
  char* value_ = nullptr;  // nullptr while value_left_ counts: the value is kept, not written
  std::uint64_t value_left_ = 0;
};

}  // namespace hotbackup::lmdb
