// SPDX-License-Identifier: Apache-2.0
#include "master/seed_source.h"

#include <optional>

#include "common/lmdb/environment.h"
#include "common/lmdb/resident_limit.h"
#include "master/cut.h"
#include "master/item_writer.h"

namespace hotbackup::master {

/// One environment: its snapshot, and how far it has been given out.
struct SeedSource::Walk {
  explicit Walk(std::unique_ptr<CutEnvironment> from) : cut(std::move(from)) {}

  Result<> fill(std::string& body, lmdb::ContentDigest* digest);
  Result<bool> next_database(update::BodyWriter& writer);

  const std::unique_ptr<CutEnvironment> cut;
  std::uint64_t given = 0;  // items
  std::vector<lmdb::DatabaseInfo> databases;
  std::size_t next = 0;       // of databases
  update::Database database;  // the one being given out
  std::optional<lmdb::Cursor> cursor;
  ItemWriter items;
  lmdb::ItemDigest hash;
  std::uint64_t used_bytes = 0;  // when the cut was taken
};

Result<bool> SeedSource::Walk::next_database(update::BodyWriter& writer) {
  cursor.reset();
  if (next == databases.size()) return false;
  const lmdb::DatabaseInfo& info = databases[next++];
  database = {info.main, info.name, info.flags};
  if (cut->rules.keeps_database(database)) return true;  // without a cursor: the next one follows
  HOTBACKUP_ASSIGN(auto opened, lmdb::Cursor::open(*cut->snapshot, info.dbi));
  cursor.emplace(std::move(opened));
  writer.add({update::OperationKind::kCreate, database, {}, {}, 0});
  return true;
}

/// Fills a body to about its target size; leaves it empty at the end.
Result<> SeedSource::Walk::fill(std::string& body, lmdb::ContentDigest* digest) {
  update::BodyWriter writer(body);
  while (body.size() < update::kBodyBytesTarget) {
    if (items.more()) {
      if (!items.add_part(writer, database, body.size())) break;
      continue;
    }
    std::optional<lmdb::Cursor::Item> item;
    if (cursor) {
      HOTBACKUP_ASSIGN(item, cursor->next());
    }
    if (!item) {
      HOTBACKUP_ASSIGN(const bool more, next_database(writer));
      if (!more) break;
      if (digest != nullptr && cursor)
        digest->push_back({database.main, std::string(database.name), database.flags, 0, {}});
      continue;
    }
    if (database.main && databases.size() > 1) {
      HOTBACKUP_ASSIGN(const bool named,
                       lmdb::is_named_database(*cut->snapshot, database.flags, *item));
      if (named) continue;
    }
    if (cut->rules.keeps(database, item->key)) continue;
    items.add(writer, database, *item);
    if (digest != nullptr) hash.add(digest->back(), item->key, item->value);
    ++given;
  }
  return {};
}

SeedSource::SeedSource() = default;
SeedSource::~SeedSource() = default;

Result<std::unique_ptr<SeedSource>> SeedSource::cut(control::Group& group,
                                                    std::chrono::milliseconds wait) {
  HOTBACKUP_ASSIGN(auto cut, Cut::take(group, wait));
  std::unique_ptr<SeedSource> source(new SeedSource);
  source->position_ = cut.position;
  source->environments_ = std::move(cut.bodies);
  for (auto& environment : cut.environments)
    source->walks_.push_back(std::make_unique<Walk>(std::move(environment)));
  HOTBACKUP_TRY(source->count_items());
  return source;
}

Result<> SeedSource::count_items() {
  for (const auto& walk : walks_) {
    walk->used_bytes = walk->cut->environment.info().used_bytes;
    HOTBACKUP_ASSIGN(walk->databases, lmdb::databases(*walk->cut->snapshot));
    for (const lmdb::DatabaseInfo& database : walk->databases) items_ += database.items;
  }
  return {};
}

std::uint64_t SeedSource::growth() const {
  std::uint64_t bytes = 0;
  for (const auto& walk : walks_)
    if (walk) bytes += walk->cut->environment.info().used_bytes - walk->used_bytes;
  return bytes;
}

Result<bool> SeedSource::next(Part& part) {
  while (current_ < walks_.size()) {
    Walk& walk = *walks_[current_];
    part.environment = walk.cut->number;
    part.body.clear();
    const std::uint64_t before = walk.given;
    if (hashing_) digests_.resize(environments_.size());
    HOTBACKUP_TRY(walk.fill(part.body, hashing_ ? &digests_[current_] : nullptr));
    given_ += walk.given - before;
    lmdb::trim_resident();
    if (!part.body.empty()) return true;
    walks_[current_++].reset();  // frees its snapshot as soon as may be
  }
  return false;
}

}  // namespace hotbackup::master
