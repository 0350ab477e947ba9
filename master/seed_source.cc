// SPDX-License-Identifier: Apache-2.0
#include "master/seed_source.h"

#include <sys/stat.h>

#include <optional>
#include <thread>

#include "common/lmdb/environment.h"
#include "common/lmdb/resident_limit.h"
#include "common/recovery/baseline.h"

namespace hotbackup::master {
namespace {

constexpr std::chrono::milliseconds kSlotLook{1};

/// An environment with an open slot, if there is one.
const control::EnvironmentEntry* open_slot(control::Group& group) {
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    const auto* entry = group.environment(EnvironmentNumber(n));
    if (entry != nullptr && entry->slot.number.load() != 0) return entry;
  }
  return nullptr;
}

}  // namespace

/// One environment: its snapshot, and how far it has been given out.
struct SeedSource::Walk {
  Walk(EnvironmentNumber n, lmdb::Environment e) : number(n), environment(std::move(e)) {}

  Result<> begin();
  Result<> check(control::Group& group, os::SharedLock& lock);
  Result<> fill(std::string& body);
  Result<bool> next_database(update::BodyWriter& writer);
  void add_item(update::BodyWriter& writer, const lmdb::Cursor::Item& item);
  void add_value_part(update::BodyWriter& writer);

  const EnvironmentNumber number;
  update::KeepLocalRules rules;
  std::uint64_t given = 0;  // items
  lmdb::Environment environment;
  std::optional<lmdb::Transaction> snapshot;
  std::vector<lmdb::DatabaseInfo> databases;
  std::size_t next = 0;       // of databases
  update::Database database;  // the one being given out
  std::optional<lmdb::Cursor> cursor;
  std::string_view value_left;  // of a large value
};

// A writer may have grown the map since the environment was opened.
Result<> SeedSource::Walk::begin() {
  auto txn = lmdb::Transaction::begin(environment, /*read_only=*/true);
  if (!txn && txn.error().os_error() == MDB_MAP_RESIZED) {
    HOTBACKUP_TRY(environment.set_map_bytes(0));
    txn = lmdb::Transaction::begin(environment, /*read_only=*/true);
  }
  if (!txn) return fail(std::move(txn).error());
  snapshot.emplace(std::move(*txn));
  return {};
}

// A writer without locks makes pages of this snapshot change under it. An environment that was
// written without capture gets a new baseline: what this snapshot shows is what copies will have.
Result<> SeedSource::Walk::check(control::Group& group, os::SharedLock& lock) {
  control::EnvironmentEntry& entry = *group.environment(number);
  const TxnId last = snapshot->id();
  if (environment.info().last_txnid > last) {
    const std::string text = "environment " + std::string(entry.name) +
                             " is written without LMDB's locks: no snapshot of it can be trusted";
    group.incidents().raise("HB-nolock-writer", entry.name, text);
    return fail(ErrorCode::kBusy, text);
  }
  if (entry.state.load() == 0) return {};
  return recovery::append_baseline(group, entry, lock, recovery::describe(entry, environment.get()),
                                   last);
}

Result<bool> SeedSource::Walk::next_database(update::BodyWriter& writer) {
  cursor.reset();
  if (next == databases.size()) return false;
  const lmdb::DatabaseInfo& info = databases[next++];
  database = {info.main, info.name, info.flags};
  if (rules.keeps_database(database)) return true;  // without a cursor: the next one follows
  HOTBACKUP_ASSIGN(auto opened, lmdb::Cursor::open(*snapshot, info.dbi));
  cursor.emplace(std::move(opened));
  writer.add({update::OperationKind::kCreate, database, {}, {}, 0});
  return true;
}

void SeedSource::Walk::add_item(update::BodyWriter& writer, const lmdb::Cursor::Item& item) {
  update::Operation operation{update::OperationKind::kPut, database, item.key, item.value, 0};
  if (item.value.size() > update::kValuePartBytes) {
    operation.kind = update::OperationKind::kPutLarge;
    operation.value_bytes = item.value.size();
    value_left = item.value;
  }
  writer.add(operation);
}

void SeedSource::Walk::add_value_part(update::BodyWriter& writer) {
  const std::string_view part = value_left.substr(0, update::kValuePartBytes);
  writer.add({update::OperationKind::kValuePart, database, {}, part, 0});
  value_left.remove_prefix(part.size());
}

/// Fills a body to about its target size; leaves it empty at the end.
Result<> SeedSource::Walk::fill(std::string& body) {
  update::BodyWriter writer(body);
  while (body.size() < update::kBodyBytesTarget) {
    if (!value_left.empty()) {
      if (!body.empty() && body.size() + value_left.size() > update::kBodyBytesTarget) break;
      add_value_part(writer);
      continue;
    }
    std::optional<lmdb::Cursor::Item> item;
    if (cursor) {
      HOTBACKUP_ASSIGN(item, cursor->next());
    }
    if (!item) {
      HOTBACKUP_ASSIGN(const bool more, next_database(writer));
      if (!more) break;
      continue;
    }
    if (database.main && databases.size() > 1) {
      HOTBACKUP_ASSIGN(const bool named, lmdb::is_named_database(*snapshot, database.flags, *item));
      if (named) continue;
    }
    if (rules.keeps(database, item->key)) continue;
    add_item(writer, *item);
    ++given;
  }
  return {};
}

SeedSource::SeedSource() = default;
SeedSource::~SeedSource() = default;

Result<std::unique_ptr<SeedSource>> SeedSource::cut(control::Group& group,
                                                    std::chrono::milliseconds wait) {
  std::unique_ptr<SeedSource> source(new SeedSource);
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (bool taken = false; !taken;) {
    HOTBACKUP_TRY(source->open_all(group));
    HOTBACKUP_ASSIGN(taken, source->begin_all(group, deadline));
  }
  HOTBACKUP_TRY(group.journal().sync_through(source->position_.number));
  HOTBACKUP_TRY(source->count_items());
  return source;
}

/// Opens what has joined and is not open yet.
Result<> SeedSource::open_all(control::Group& group) {
  for (; joined_ < group.environment_count(); ++joined_) {
    const auto* entry = group.environment(EnvironmentNumber(joined_ + 1));
    if (entry == nullptr) continue;
    const bool subdirectory = entry->subdirectory != 0;
    struct stat status {};
    if (::stat(lmdb::data_file(entry->path, subdirectory).c_str(), &status) != 0) {
      if (errno == ENOENT) continue;
      return fail_errno("looking at " + std::string(entry->path));
    }
    if (status.st_size == 0) continue;
    lmdb::OpenOptions options;
    options.path = entry->path;
    options.subdirectory = subdirectory;
    options.read_only = true;
    HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
    environments_.push_back(recovery::describe(*entry, environment.get()).body);
    walks_.push_back(std::make_unique<Walk>(environments_.back().number, std::move(environment)));
    HOTBACKUP_ASSIGN(walks_.back()->rules, group.keep_local(entry->configured));
  }
  return {};
}

/// False when an environment has joined in the meantime.
Result<bool> SeedSource::begin_all(control::Group& group,
                                   std::chrono::steady_clock::time_point deadline) {
  HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
  if (group.environment_count() != joined_) return false;
  // Nobody opens a slot without the lock; those that are open clear by themselves.
  while (const auto* entry = open_slot(group)) {
    if (std::chrono::steady_clock::now() > deadline)
      return fail(ErrorCode::kBusy, "a commit in environment " + std::string(entry->name) +
                                        " by process " + std::to_string(entry->slot.pid.load()) +
                                        " does not finish");
    std::this_thread::sleep_for(kSlotLook);
  }
  for (const auto& walk : walks_) {
    HOTBACKUP_TRY(walk->begin());
    HOTBACKUP_TRY(walk->check(group, lock));
  }
  const journal::SharedTail& tail = group.layout().tail;
  position_ = {tail.epoch, UpdateNumber(tail.made.load()), tail.chain};
  return true;
}

Result<> SeedSource::count_items() {
  for (const auto& walk : walks_) {
    HOTBACKUP_ASSIGN(walk->databases, lmdb::databases(*walk->snapshot));
    for (const lmdb::DatabaseInfo& database : walk->databases) items_ += database.items;
  }
  return {};
}

Result<bool> SeedSource::next(Part& part) {
  while (current_ < walks_.size()) {
    Walk& walk = *walks_[current_];
    part.environment = walk.number;
    part.body.clear();
    const std::uint64_t before = walk.given;
    HOTBACKUP_TRY(walk.fill(part.body));
    given_ += walk.given - before;
    lmdb::trim_resident();
    if (!part.body.empty()) return true;
    walks_[current_++].reset();  // frees its snapshot as soon as may be
  }
  return false;
}

}  // namespace hotbackup::master
