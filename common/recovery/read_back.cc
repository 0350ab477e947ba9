// SPDX-License-Identifier: Apache-2.0
#include "common/recovery/read_back.h"

#include <map>
#include <string>
#include <utility>

#include "common/update/codec.h"

namespace hotbackup::recovery {
namespace {

using update::Operation;
using update::OperationKind;

/// Databases by name ("" is main), opened once, without changing anything.
class Databases {
 public:
  explicit Databases(lmdb::Transaction& txn) : txn_(txn) {}

  /// The handle and flags; nothing where there is no such database.
  std::optional<std::pair<MDB_dbi, unsigned>> find(const update::Database& database) {
    const std::string name(database.main ? std::string_view{} : database.name);
    if (const auto known = known_.find(name); known != known_.end()) return known->second;
    MDB_dbi dbi = 0;
    unsigned flags = 0;
    const int rc = database.main ? mdb_dbi_open(txn_.get(), nullptr, 0, &dbi)
                                 : lmdb::open_named(txn_, name, 0, &dbi);
    if (rc != 0 || mdb_dbi_flags(txn_.get(), dbi, &flags) != 0) return std::nullopt;
    return known_[name] = std::make_pair(dbi, flags);
  }

 private:
  lmdb::Transaction& txn_;
  std::map<std::string, std::pair<MDB_dbi, unsigned>> known_;
};

/// One key, or one pair of a database that keeps duplicates.
struct Place {
  bool main = false;
  std::string database;
  std::string key;
  std::optional<std::string> pair;
  auto operator<=>(const Place&) const = default;
};

/// What the update left there.
struct Left {
  bool present = false;
  std::optional<std::string> value;  // not known of a large value, whose parts are not looked at
};
using Leftovers = std::map<Place, Left>;

void note(Leftovers& left, const Operation& operation) {
  const bool duplicates = (operation.database.flags & MDB_DUPSORT) != 0;
  const Place whole{operation.database.main, std::string(operation.database.name),
                    std::string(operation.key), std::nullopt};
  Place pair = whole;
  pair.pair = std::string(operation.value);
  const auto forget = [&](auto matches) { std::erase_if(left, matches); };
  switch (operation.kind) {
    case OperationKind::kPut:
      if (duplicates) left.erase(whole);
      left[duplicates ? pair : whole] = {true, std::string(operation.value)};
      break;
    case OperationKind::kPutLarge:
      left[whole] = {true, std::nullopt};
      break;
    case OperationKind::kDeletePair:
      left[pair] = {};
      break;
    case OperationKind::kDeleteKey:
      forget([&](const auto& entry) {
        return entry.first.main == whole.main && entry.first.database == whole.database &&
               entry.first.key == whole.key;
      });
      left[whole] = {};
      break;
    case OperationKind::kClear:
    case OperationKind::kDrop:
      forget([&](const auto& entry) {
        return whole.main || (!entry.first.main && entry.first.database == whole.database);
      });
      break;
    case OperationKind::kCreate:
    case OperationKind::kValuePart:
      break;
  }
}

bool has_pair(lmdb::Transaction& txn, MDB_dbi dbi, std::string_view key, std::string_view value) {
  MDB_cursor* cursor = nullptr;
  if (mdb_cursor_open(txn.get(), dbi, &cursor) != 0) return false;
  MDB_val k = lmdb::to_val(key);
  MDB_val v = lmdb::to_val(value);
  const bool found = mdb_cursor_get(cursor, &k, &v, MDB_GET_BOTH) == 0;
  mdb_cursor_close(cursor);
  return found;
}

/// Whether the environment has what the update left at this place.
Result<bool> stands(lmdb::Transaction& txn, Databases& databases, const Place& place,
                    const Left& wanted) {
  const auto database = databases.find({place.main, place.database, 0});
  if (!database) return !wanted.present;
  const auto [dbi, flags] = *database;
  if (place.pair) return has_pair(txn, dbi, place.key, *place.pair) == wanted.present;
  MDB_val key = lmdb::to_val(place.key);
  MDB_val value{};
  if (mdb_get(txn.get(), dbi, &key, &value) != 0) return !wanted.present;
  if (wanted.present) return !wanted.value || lmdb::to_view(value) == *wanted.value;
  // The record of a named database may stand where the update deleted an item.
  if (!place.main) return false;
  return lmdb::is_named_database(txn, flags, {place.key, lmdb::to_view(value)});
}

}  // namespace

Result<bool> shows(lmdb::Transaction& txn, std::string_view body) {
  Leftovers left;
  HOTBACKUP_TRY(update::read_body(body, [&](const Operation& operation) -> Result<> {
    note(left, operation);
    return {};
  }));
  Databases databases(txn);
  for (const auto& [place, wanted] : left) {
    HOTBACKUP_ASSIGN(const bool right, stands(txn, databases, place, wanted));
    if (!right) return false;
  }
  return true;
}

}  // namespace hotbackup::recovery
