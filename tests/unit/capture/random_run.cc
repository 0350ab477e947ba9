// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/capture/random_run.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>

namespace hotbackup::test {

Run::Run(std::uint64_t seed, unsigned main_flags, unsigned env_flags,
         const std::vector<std::string>& rules)
    : seed_(seed), main_flags_(main_flags), random_(seed) {
  const bool file = (env_flags & MDB_NOSUBDIR) != 0;
  sides_[0].path = file ? fixture_.data() + "/env" : fixture_.environment_directory("env");
  sides_[1].path = fixture_.path() + "/plain";
  if (!file) std::filesystem::create_directory(sides_[1].path);
  for (Side& side : sides_) side.flags = env_flags;
  sides_[1].flags |= MDB_NOSYNC;
  models_.push_back({{"", ModelDatabase(0)}});
  if (!rules.empty()) fixture_.keep_local(rules);
  rules_ = *update::KeepLocalRules::parse(rules);
  open_sides();
}

Run::~Run() {
  close_sides();
}

void Run::open_sides() {
  for (Side& side : sides_) side.env = open_env(side.path, side.flags);
  begin();
  both(0, [&](Side& side) {
    side.handles[""] = 1;
    MDB_dbi main = 0;
    return mdb_dbi_open(side.txn(), nullptr, main_flags_, &main);
  });
  if (models_.back().at("").flags() != main_flags_)
    models_.back().insert_or_assign("", ModelDatabase(main_flags_));
  end(true);
}

void Run::close_sides() {
  for (Side& side : sides_) {
    while (!side.txns.empty()) {
      mdb_txn_abort(side.txns.back());
      side.txns.pop_back();
    }
    if (side.env != nullptr) mdb_env_close(side.env);
    side.env = nullptr;
    side.handles.clear();
  }
}

void Run::begin() {
  doing_ = "begin";
  both(0, [&](Side& side) {
    MDB_txn* txn = nullptr;
    const int rc = mdb_txn_begin(side.env, side.txns.empty() ? nullptr : side.txn(), 0, &txn);
    side.txns.push_back(txn);
    return rc;
  });
  models_.push_back(models_.back());
}

void Run::end(bool commit) {
  doing_ = commit ? "commit" : "abort";
  both(0, [&](Side& side) {
    MDB_txn* const txn = side.txn();
    side.txns.pop_back();
    if (commit) return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return 0;
  });
  Model ended = std::move(models_.back());
  models_.pop_back();
  if (commit) {
    models_.back() = std::move(ended);
    return;
  }
  // Handles that were opened in the transaction are gone.
  for (Side& side : sides_)
    std::erase_if(side.handles, [](const auto& handle) { return !handle.first.empty(); });
}

std::string Run::pick_database() {
  const Model& model = models_.back();
  auto at = model.begin();
  std::advance(at, static_cast<long>(below(model.size())));
  return at->first;
}

std::string Run::random_key(const ModelDatabase& database) {
  const std::uint64_t number = below(chance(90) ? 24 : 400);
  if ((database.flags() & MDB_INTEGERKEY) != 0)
    return {reinterpret_cast<const char*>(&number), sizeof number};
  if (chance(1)) return {};
  std::string key = "k" + std::to_string(number * 7919 % 1000);
  if (chance(5)) key.resize(1 + below(511), 'x');
  return key;
}

std::string Run::random_value(const ModelDatabase& database) {
  const std::uint64_t number = below(chance(80) ? 12 : 300);
  if ((database.flags() & MDB_DUPFIXED) != 0)
    return {reinterpret_cast<const char*>(&number), sizeof number};
  std::string value = "v" + std::to_string(number);
  if (database.has_duplicates()) {
    if (chance(10)) value.resize(1 + below(500), 'y');
    return value;
  }
  if (chance(10)) value.resize(below(5000), 'y');
  if (chance(1)) value.resize(below(700'000), 'z');
  return value;
}

unsigned Run::random_put_flags(const ModelDatabase& database) {
  unsigned flags = 0;
  if (chance(15)) flags |= MDB_NOOVERWRITE;
  if (chance(8)) flags |= MDB_APPEND;
  if (!database.has_duplicates()) return flags;
  if (chance(20)) flags |= MDB_NODUPDATA;
  if (chance(10) && (flags & MDB_APPEND) == 0) flags |= MDB_APPENDDUP;
  return flags;
}

/// Opens a database on both sides unless its handle is there.
bool Run::open_handles(const std::string& name) {
  doing_ = "open " + name;
  both(0, [&](Side& side) {
    if (side.handles.contains(name)) return 0;
    return mdb_dbi_open(side.txn(), name.c_str(), 0, &side.handles[name]);
  });
  return true;
}

void Run::create_or_open() {
  if (main_flags_ != 0) return;
  const std::size_t index = below(std::size(kNamedFlags));
  const std::string name = "db" + std::to_string(index);
  const unsigned flags = kNamedFlags[index];
  const bool exists = models_.back().contains(name);
  const bool create = chance(70);
  doing_ = "dbi_open " + name;
  both(exists || create ? 0 : MDB_NOTFOUND, [&](Side& side) {
    MDB_dbi dbi = 0;
    const int rc = mdb_dbi_open(side.txn(), name.c_str(), flags | (create ? MDB_CREATE : 0), &dbi);
    if (rc == 0) side.handles[name] = dbi;
    return rc;
  });
  if (create) models_.back().try_emplace(name, flags);
}

void Run::drop(const std::string& name) {
  if (name.empty() && models_.back().size() > 1) return;  // has a case of its own
  open_handles(name);
  // LMDB closes the handle at once: after the abort of a nested transaction that did so, its parent
  // cannot commit.
  const bool del = !name.empty() && models_.size() == 2 && chance(50);
  doing_ = "drop " + name;
  both(0, [&](Side& side) {
    const int rc = mdb_drop(side.txn(), side.handles.at(name), del ? 1 : 0);
    if (del) side.handles.erase(name);
    return rc;
  });
  if (del)
    models_.back().erase(name);
  else
    models_.back().at(name).clear();
}

void Run::put(const std::string& name) {
  open_handles(name);
  ModelDatabase& database = models_.back().at(name);
  const std::string key = random_key(database), value = random_value(database);
  const unsigned flags = random_put_flags(database);
  doing_ = "put " + name + " flags " + std::to_string(flags);
  const int due = key.empty() ? MDB_BAD_VALSIZE : database.put(key, value, flags);
  both(due, [&](Side& side) {
    MDB_val k = val(key), v = val(value);
    return mdb_put(side.txn(), side.handles.at(name), &k, &v, flags);
  });
}

MDB_cursor* Run::place(Side& side, const std::string& name, const std::string& key,
                       const std::string* value) {
  MDB_cursor* cursor = nullptr;
  REQUIRE(mdb_cursor_open(side.txn(), side.handles.at(name), &cursor) == 0);
  MDB_val k = val(key), v = value != nullptr ? val(*value) : MDB_val{};
  const int rc = mdb_cursor_get(cursor, &k, &v, value != nullptr ? MDB_GET_BOTH : MDB_SET);
  REQUIRE(rc == 0);
  return cursor;
}

void Run::put_by_cursor(const std::string& name) {
  open_handles(name);
  ModelDatabase& database = models_.back().at(name);
  const int count = 1 + static_cast<int>(below(3));
  Side* const first = sides_;
  MDB_cursor* cursors[2];
  for (int i = 0; i < 2; ++i)
    REQUIRE(mdb_cursor_open(first[i].txn(), first[i].handles.at(name), &cursors[i]) == 0);
  for (int n = 0; n < count; ++n) {
    const std::string key = random_key(database), value = random_value(database);
    const unsigned flags = random_put_flags(database);
    doing_ = "cursor_put " + name + " flags " + std::to_string(flags);
    const int due = key.empty() ? MDB_BAD_VALSIZE : database.put(key, value, flags);
    both(due, [&](Side& side) {
      MDB_val k = val(key), v = val(value);
      return mdb_cursor_put(cursors[&side - first], &k, &v, flags);
    });
  }
  for (MDB_cursor* cursor : cursors) mdb_cursor_close(cursor);
}

void Run::put_multiple(const std::string& name) {
  open_handles(name);
  ModelDatabase& database = models_.back().at(name);
  if ((database.flags() & MDB_DUPFIXED) == 0) return;
  const std::string key = random_key(database);
  const auto existing = database.items().find(key);
  // What LMDB does with a key's only value depends on whether it had others before.
  if (key.empty() || (existing != database.items().end() && existing->second.size() == 1)) return;
  std::vector<std::string> values;
  std::string joined;
  const std::uint64_t count = 1 + below(chance(5) ? 600 : 6);
  for (std::uint64_t n = 0; n < count; ++n) {
    values.push_back(random_value(database));
    joined += values.back();
  }
  const unsigned flags = MDB_MULTIPLE | (chance(40) ? MDB_NODUPDATA : 0);
  doing_ = "MULTIPLE " + name + " flags " + std::to_string(flags);
  std::size_t stored = 0;
  const int due = database.put_multiple(key, values, flags, stored);
  both(due, [&](Side& side) {
    MDB_cursor* cursor = nullptr;
    REQUIRE(mdb_cursor_open(side.txn(), side.handles.at(name), &cursor) == 0);
    MDB_val k = val(key);
    MDB_val data[2] = {{8, joined.data()}, {values.size(), nullptr}};
    const int rc = mdb_cursor_put(cursor, &k, data, flags);
    CHECK(data[1].mv_size == stored);
    mdb_cursor_close(cursor);
    return rc;
  });
}

/// Overwrites an existing item; in a database with duplicates by one of the same place and size,
/// since LMDB damages the page otherwise.
void Run::put_current(const std::string& name) {
  open_handles(name);
  ModelDatabase& database = models_.back().at(name);
  if (database.items().empty()) return;
  auto item = database.items().begin();
  std::advance(item, static_cast<long>(below(database.items().size())));
  const std::string key = item->first;
  auto at = item->second.begin();
  std::advance(at, static_cast<long>(below(item->second.size())));
  const std::string old_value = *at;
  const bool only_one = item->second.size() == 1;
  std::string value = database.has_duplicates() ? old_value : random_value(database);
  if (database.has_duplicates() && only_one) value[0] ^= 1;
  doing_ = "CURRENT " + name;
  both(0, [&](Side& side) {
    MDB_cursor* const cursor =
        place(side, name, key, database.has_duplicates() ? &old_value : nullptr);
    MDB_val k = val(key), v = val(value);
    const int rc = mdb_cursor_put(cursor, &k, &v, MDB_CURRENT);
    mdb_cursor_close(cursor);
    return rc;
  });
  database.remove(key, old_value);
  database.put(key, value, 0);
}

void Run::reserve(const std::string& name) {
  open_handles(name);
  ModelDatabase& database = models_.back().at(name);
  const std::string key = random_key(database), value = random_value(database);
  if (database.has_duplicates() || key.empty()) return;
  const unsigned flags = chance(30) ? MDB_NOOVERWRITE : 0;
  doing_ = "RESERVE " + name;
  const int due = database.put(key, value, flags);
  both(due, [&](Side& side) {
    MDB_val k = val(key), v{value.size(), nullptr};
    const int rc = mdb_put(side.txn(), side.handles.at(name), &k, &v, flags | MDB_RESERVE);
    if (rc == 0) std::memcpy(v.mv_data, value.data(), value.size());
    return rc;
  });
}

void Run::remove(const std::string& name) {
  open_handles(name);
  ModelDatabase& database = models_.back().at(name);
  const std::string key = random_key(database), value = random_value(database);
  if (key.empty()) return;
  const bool pair = chance(50);
  doing_ = "del " + name;
  const int due = pair ? database.remove(key, value) : database.remove(key);
  both(due, [&](Side& side) {
    MDB_val k = val(key), v = val(value);
    return mdb_del(side.txn(), side.handles.at(name), &k, pair ? &v : nullptr);
  });
}

/// Deletes at a cursor and reads on from there, a few times.
void Run::remove_by_cursor(const std::string& name) {
  open_handles(name);
  ModelDatabase& database = models_.back().at(name);
  if (database.items().empty()) return;
  auto item = database.items().begin();
  std::advance(item, static_cast<long>(below(database.items().size())));
  const std::string start = item->first;
  MDB_cursor* cursors[2] = {place(sides_[0], name, start, nullptr),
                            place(sides_[1], name, start, nullptr)};
  for (int n = 0; n < 3; ++n) {
    const unsigned flags = database.has_duplicates() && chance(30) ? MDB_NODUPDATA : 0;
    doing_ = "cursor_del " + name + " flags " + std::to_string(flags);
    MDB_val keys[2], values[2];
    int codes[2];
    for (int i = 0; i < 2; ++i)
      codes[i] =
          mdb_cursor_get(cursors[i], &keys[i], &values[i], n == 0 ? MDB_GET_CURRENT : MDB_NEXT);
    REQUIRE(codes[0] == codes[1]);
    if (codes[0] != 0) break;
    const std::string key = text(keys[0]), value = text(values[0]);
    REQUIRE(key == text(keys[1]));
    REQUIRE(value == text(values[1]));
    both(0, [&](Side& side) { return mdb_cursor_del(cursors[&side - sides_], flags); });
    CHECK((flags != 0 ? database.remove(key) : database.remove(key, value)) == 0);
  }
  for (MDB_cursor* cursor : cursors) mdb_cursor_close(cursor);
}

void Run::get(const std::string& name) {
  open_handles(name);
  const ModelDatabase& database = models_.back().at(name);
  const std::string key = random_key(database);
  if (key.empty()) return;
  const auto found = database.items().find(key);
  doing_ = "get " + name;
  both(found != database.items().end() ? 0 : MDB_NOTFOUND, [&](Side& side) {
    MDB_val k = val(key), v{};
    const int rc = mdb_get(side.txn(), side.handles.at(name), &k, &v);
    if (rc == 0) CHECK(text(v) == *found->second.begin());
    return rc;
  });
}

void Run::step() {
  ++steps_;
  const std::string name = pick_database();
  switch (below(20)) {
    case 0:
      return create_or_open();
    case 1:
      return chance(20) ? drop(name) : get(name);
    case 2:
      return put_multiple(name);
    case 3:
      return put_current(name);
    case 4:
      return reserve(name);
    case 5:
    case 6:
      return remove(name);
    case 7:
    case 8:
      return remove_by_cursor(name);
    case 9:
      return get(name);
    case 10:
      if ((sides_[0].flags & MDB_WRITEMAP) == 0 && models_.size() < 5) begin();
      return;
    case 11:
      if (models_.size() > 2) end(chance(60));
      return;
    case 12:
    case 13:
    case 14:
      return put_by_cursor(name);
    default:
      return put(name);
  }
}

/// What is sent of the model, and the copy's own.
Content Run::due_in_copy() const {
  Content due = own_;
  for (const auto& [name, database] : content_of(models_.back())) {
    const update::Database described{name.empty(), name, database.flags};
    if (rules_.keeps_database(described)) continue;
    due[name].flags = database.flags;
    for (const auto& item : database.items)
      if (!rules_.keeps(described, item.first)) due[name].items.insert(item);
  }
  return due;
}

/// A program at the copy writes what is kept there, by LMDB alone. Only into databases that are
/// there or are its own: others it could not make.
void Run::write_own() {
  if (rules_.empty()) return;
  auto begun = lmdb::Transaction::begin(copy_->environment(), false);
  REQUIRE(begun);
  for (const update::KeepLocalRule& rule : rules_.rules()) {
    const std::string& name = rule.database;
    const auto there = models_.back().find(name);
    const bool mine = own_.contains(name);
    if (!rule.whole && !mine && there == models_.back().end()) continue;
    unsigned flags = 0;
    MDB_dbi dbi = 1;
    const char* const text = name.empty() ? nullptr : name.c_str();
    REQUIRE(mdb_dbi_open(begun->get(), text, rule.whole ? MDB_CREATE : 0, &dbi) == 0);
    REQUIRE(mdb_dbi_flags(begun->get(), dbi, &flags) == 0);
    if ((flags & MDB_INTEGERKEY) != 0 && !rule.prefix) continue;
    DatabaseContent& own = own_[name];
    own.flags = flags;
    std::string key = rule.key;
    if (rule.whole || rule.prefix) key += std::string(1, static_cast<char>('0' + below(10)));
    if ((flags & MDB_INTEGERKEY) != 0) key.resize(8);
    const std::uint64_t number = below(1000);
    std::string value = "own" + std::to_string(number);
    if ((flags & MDB_DUPFIXED) != 0)
      value.assign(reinterpret_cast<const char*>(&number), sizeof number);
    MDB_val k = val(key), v = val(value);
    if ((flags & MDB_DUPSORT) == 0 || chance(30)) {
      const int rc = mdb_del(begun->get(), dbi, &k, nullptr);
      REQUIRE((rc == 0 || rc == MDB_NOTFOUND));
      std::erase_if(own.items, [&](const auto& item) { return item.first == key; });
    }
    REQUIRE(mdb_put(begun->get(), dbi, &k, &v, 0) == 0);
    own.items.emplace(key, value);
  }
  REQUIRE(begun->commit());
}

void Run::compare() {
  const Content due = content_of(models_.back());
  if (!copy_) copy_.emplace(fixture_, EnvironmentNumber(1), fixture_.path() + "/copy");
  copy_->keep_local(rules_);
  copy_->replay();
  const std::string captured = explain(content_of(sides_[0].env), due);
  const std::string plain = explain(content_of(sides_[1].env), due);
  const std::string copied = explain(copy_->content(), due_in_copy());
  if (!captured.empty() || !plain.empty() || !copied.empty())
    FAIL("seed " << seed_ << " step " << steps_ << ": captured/model " << captured
                 << "; plain/model " << plain << "; copy/model " << copied);
  write_own();
}

void Run::transactions(int count) {
  for (int n = 0; n < count; ++n) {
    begin();
    if (fixture_.group().layout().environments[0].state.load() != 0)
      FAIL("seed " << seed_ << " step " << steps_ << ": the walk was left");
    for (std::uint64_t left = below(chance(5) ? 200 : 12); left > 0; --left) step();
    while (models_.size() > 2) end(chance(70));
    end(chance(85));
    if (chance(2)) {
      close_sides();
      open_sides();
    }
    if (n % 100 == 99) compare();
  }
  compare();
  CHECK(fixture_.group().published() <= fixture_.group().made());
  CHECK(fixture_.group().decided() == fixture_.group().made());
}

}  // namespace hotbackup::test
