// SPDX-License-Identifier: Apache-2.0
#include "master/fetch_source.h"

#include "common/lmdb/resident_limit.h"

namespace hotbackup::master {
namespace {

using update::OperationKind;

struct CloseCursor {
  void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
};

}  // namespace

/// One environment, and what is being given out of it.
struct FetchSource::Place {
  explicit Place(std::unique_ptr<CutEnvironment> from) : cut(std::move(from)) {}

  const lmdb::DatabaseInfo* find(bool main, std::string_view name) const {
    for (const lmdb::DatabaseInfo& info : databases)
      if (main ? info.main : !info.main && info.name == name) return &info;
    return nullptr;
  }
  Result<bool> is_item(const lmdb::Cursor::Item& item) {
    if (!database.main || databases.size() <= 1) return true;
    HOTBACKUP_ASSIGN(const bool named, lmdb::is_named_database(*cut->snapshot, flags, item));
    return !named;
  }

  const std::unique_ptr<CutEnvironment> cut;
  std::vector<lmdb::DatabaseInfo> databases;
  update::Database database;  // the one being given out
  unsigned flags = 0;
  std::unique_ptr<MDB_cursor, CloseCursor> cursor;  // on an item that is due
  bool whole = false;  // the next item follows, else the next duplicate
  ItemWriter items;
};

FetchSource::FetchSource() = default;
FetchSource::~FetchSource() = default;

Result<std::unique_ptr<FetchSource>> FetchSource::cut(control::Group& group,
                                                      std::chrono::milliseconds wait) {
  HOTBACKUP_ASSIGN(auto cut, Cut::take(group, wait));
  std::unique_ptr<FetchSource> source(new FetchSource);
  source->position_ = cut.position;
  for (auto& environment : cut.environments) {
    const EnvironmentNumber number = environment->number;
    auto place = std::make_unique<Place>(std::move(environment));
    HOTBACKUP_ASSIGN(place->databases, lmdb::databases(*place->cut->snapshot));
    source->places_[number] = std::move(place);
  }
  return source;
}

std::vector<CutEnvironment*> FetchSource::environments() const {
  std::vector<CutEnvironment*> all;
  for (const auto& [number, place] : places_) all.push_back(place->cut.get());
  return all;
}

Result<> FetchSource::want(EnvironmentNumber environment, std::string_view body) {
  const auto place = places_.find(environment);
  if (place == places_.end())
    return fail(ErrorCode::kNotFound,
                "environment " + std::to_string(environment.value) + " is not here");
  place_ = place->second.get();
  return update::read_body(body, [this](const update::Operation& asked) -> Result<> {
    const update::Database& database = asked.database;
    const bool everything = asked.kind == OperationKind::kClear && database.main;
    if (everything) {
      for (const lmdb::DatabaseInfo& info : place_->databases)
        wanted_.push_back({true, info.main, info.name, {}});
      return {};
    }
    const bool whole = asked.kind == OperationKind::kDrop && !database.main;
    if (!whole && asked.kind != OperationKind::kDeleteKey)
      return fail(ErrorCode::kProtocol, "a request that is none");
    wanted_.push_back({whole, database.main, std::string(database.name), std::string(asked.key)});
    return {};
  });
}

/// Puts the cursor on the first item of what is wanted, if there is one.
Result<> FetchSource::start(Want want, update::BodyWriter& writer) {
  Place& place = *place_;
  const lmdb::DatabaseInfo* info = place.find(want.main, want.name);
  if (info == nullptr) {
    if (!want.main) writer.add({OperationKind::kDrop, {false, want.name, 0}, {}, {}, 0});
    return {};
  }
  place.database = {info->main, info->name, info->flags};
  place.flags = info->flags;
  place.whole = want.whole;
  if (place.cut->rules.keeps_database(place.database)) return {};
  if (want.whole) writer.add({OperationKind::kCreate, place.database, {}, {}, 0});
  MDB_txn* txn = place.cut->snapshot->get();
  MDB_cursor* opened = nullptr;
  if (const int rc = mdb_cursor_open(txn, info->dbi, &opened); rc != 0)
    return lmdb::fail_lmdb("opening a cursor", rc);
  place.cursor.reset(opened);
  MDB_val key = lmdb::to_val(want.key);
  MDB_val value{};
  const int rc = mdb_cursor_get(opened, &key, &value, want.whole ? MDB_FIRST : MDB_SET_KEY);
  if (rc == MDB_NOTFOUND || rc == MDB_BAD_VALSIZE) place.cursor.reset();
  if (rc != 0 && place.cursor) return lmdb::fail_lmdb("looking for an item", rc);
  return {};
}

/// The item under the cursor, which moves on.
Result<> FetchSource::give(update::BodyWriter& writer) {
  Place& place = *place_;
  MDB_val key{};
  MDB_val value{};
  int rc = mdb_cursor_get(place.cursor.get(), &key, &value, MDB_GET_CURRENT);
  if (rc != 0) return lmdb::fail_lmdb("reading an item", rc);
  const lmdb::Cursor::Item item{lmdb::to_view(key), lmdb::to_view(value)};
  HOTBACKUP_ASSIGN(const bool is_item, place.is_item(item));
  if (is_item && !place.cut->rules.keeps(place.database, item.key))
    place.items.add(writer, place.database, item);
  const bool duplicates = (place.flags & MDB_DUPSORT) != 0;
  if (!place.whole && !duplicates)
    rc = MDB_NOTFOUND;
  else
    rc = mdb_cursor_get(place.cursor.get(), &key, &value, place.whole ? MDB_NEXT : MDB_NEXT_DUP);
  if (rc == MDB_NOTFOUND) {
    place.cursor.reset();
    return {};
  }
  if (rc != 0) return lmdb::fail_lmdb("reading an item", rc);
  return {};
}

Result<bool> FetchSource::next(std::string& body) {
  body.clear();
  if (place_ == nullptr) return false;
  update::BodyWriter writer(body);
  while (body.size() < update::kBodyBytesTarget) {
    if (place_->items.more()) {
      if (!place_->items.add_part(writer, place_->database, body.size())) break;
    } else if (place_->cursor) {
      HOTBACKUP_TRY(give(writer));
    } else if (!wanted_.empty()) {
      Want want = std::move(wanted_.front());
      wanted_.pop_front();
      HOTBACKUP_TRY(start(std::move(want), writer));
    } else {
      break;
    }
  }
  lmdb::trim_resident();
  return !body.empty();
}

}  // namespace hotbackup::master
