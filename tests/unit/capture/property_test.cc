// SPDX-License-Identifier: Apache-2.0
// Random transactions over LMDB's whole writing surface, done at once on a captured environment, on
// one without capture, and on a plain model. Every return code must be the same on all three, and
// so must the content, and that of a copy made from the journal.
//
// HOTBACKUP_SEED and HOTBACKUP_TRANSACTIONS choose another run.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>

#include "tests/unit/capture/model.h"
#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

constexpr unsigned kNamedFlags[] = {
    0,
    MDB_REVERSEKEY,
    MDB_INTEGERKEY,
    MDB_DUPSORT,
    MDB_DUPSORT | MDB_REVERSEDUP,
    MDB_DUPSORT | MDB_REVERSEKEY,
    MDB_DUPSORT | MDB_DUPFIXED,
    MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP,
    MDB_DUPSORT | MDB_INTEGERKEY | MDB_DUPFIXED | MDB_INTEGERDUP,
    MDB_DUPSORT | MDB_DUPFIXED | MDB_REVERSEDUP,
};

struct Side {
  std::string path;
  unsigned flags = 0;
  MDB_env* env = nullptr;
  std::vector<MDB_txn*> txns;  // outermost first
  std::map<std::string, MDB_dbi> handles;
  MDB_txn* txn() const { return txns.back(); }
};

class Run {
 public:
  Run(std::uint64_t seed, unsigned main_flags, unsigned env_flags);
  ~Run();
  void transactions(int count);

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(int percent) { return below(100) < static_cast<std::uint64_t>(percent); }

  void open_sides();
  void close_sides();
  void begin();
  void end(bool commit);
  void step();
  void compare();

  std::string pick_database();
  std::string random_key(const ModelDatabase& database);
  std::string random_value(const ModelDatabase& database);
  unsigned random_put_flags(const ModelDatabase& database);
  bool open_handles(const std::string& name);

  void create_or_open();
  void drop(const std::string& name);
  void put(const std::string& name);
  void put_by_cursor(const std::string& name);
  void put_multiple(const std::string& name);
  void put_current(const std::string& name);
  void reserve(const std::string& name);
  void remove(const std::string& name);
  void remove_by_cursor(const std::string& name);
  void get(const std::string& name);

  /// Does the same on both sides and expects this code from both.
  template <class Call>
  void both(int expected, Call&& call) {
    const int captured = call(sides_[0]);
    const int plain = call(sides_[1]);
    if (captured == expected && plain == expected) return;
    FAIL("seed " << seed_ << " step " << steps_ << " " << doing_ << ": captured " << captured
                 << ", plain " << plain << ", model " << expected);
  }
  MDB_cursor* place(Side& side, const std::string& name, const std::string& key,
                    const std::string* value);

  const std::uint64_t seed_;
  const unsigned main_flags_;
  std::mt19937_64 random_;
  GroupFixture fixture_;
  Side sides_[2];
  std::optional<Copy> copy_;
  std::vector<Model> models_;  // committed first, then one for each open transaction
  std::uint64_t steps_ = 0;
  std::string doing_;
};

Run::Run(std::uint64_t seed, unsigned main_flags, unsigned env_flags)
    : seed_(seed), main_flags_(main_flags), random_(seed) {
  const bool file = (env_flags & MDB_NOSUBDIR) != 0;
  sides_[0].path = file ? fixture_.data() + "/env" : fixture_.environment_directory("env");
  sides_[1].path = fixture_.path() + "/plain";
  if (!file) std::filesystem::create_directory(sides_[1].path);
  for (Side& side : sides_) side.flags = env_flags;
  sides_[1].flags |= MDB_NOSYNC;
  models_.push_back({{"", ModelDatabase(0)}});
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

void Run::compare() {
  const Content due = content_of(models_.back());
  if (!copy_) copy_.emplace(fixture_, EnvironmentNumber(1), fixture_.path() + "/copy");
  copy_->replay();
  const std::string captured = explain(content_of(sides_[0].env), due);
  const std::string plain = explain(content_of(sides_[1].env), due);
  const std::string copied = explain(copy_->content(), due);
  if (!captured.empty() || !plain.empty() || !copied.empty())
    FAIL("seed " << seed_ << " step " << steps_ << ": captured/model " << captured
                 << "; plain/model " << plain << "; copy/model " << copied);
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

std::uint64_t first_seed() {
  const char* text = std::getenv("HOTBACKUP_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}

int transaction_count(int usual) {
  const char* text = std::getenv("HOTBACKUP_TRANSACTIONS");
  return text != nullptr ? std::atoi(text) : usual;
}

}  // namespace

TEST_CASE("random transactions: model, plain LMDB, captured LMDB and copy stay equal") {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 3; ++seed)
    Run(seed, 0, MDB_NOSYNC).transactions(transaction_count(2000));
}

TEST_CASE("random transactions in main databases of every kind stay equal") {
  for (const unsigned flags : kNamedFlags)
    Run(first_seed() + flags, flags, MDB_NOSYNC | MDB_NOSUBDIR)
        .transactions(transaction_count(500));
}

TEST_CASE("random transactions under WRITEMAP, NOTLS and NOLOCK stay equal") {
  Run(first_seed(), 0, MDB_NOSYNC | MDB_WRITEMAP | MDB_MAPASYNC | MDB_NOTLS)
      .transactions(transaction_count(1000));
  Run(first_seed(), 0, MDB_NOLOCK | MDB_NOSUBDIR).transactions(transaction_count(300));
}
