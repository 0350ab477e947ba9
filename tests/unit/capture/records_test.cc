// SPDX-License-Identifier: Apache-2.0
// One case for each rule of what is recorded: what really happened, on any return code.
#include <doctest/doctest.h>

#include <cstring>
#include <optional>

#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;
using Lines = std::vector<std::string>;

namespace {

/// A captured environment with one transaction open; `lines()` commits it and gives what it became.
struct Captured {
  GroupFixture fixture;
  Env env{fixture.environment_directory("env")};
  std::optional<Txn> txn;

  Captured() {
    txn.emplace(env);
    txn->open(nullptr, 0);  // LMDB needs it before keys of main can be compared
    next();
  }
  Lines lines() {
    REQUIRE(txn->commit() == 0);
    txn.emplace(env);
    return fixture.last_operations();
  }
  /// Commits without looking and goes on.
  void next() {
    REQUIRE(txn->commit() == 0);
    txn.emplace(env);
  }
};

}  // namespace

TEST_CASE("puts and deletes are recorded in order, in main and named databases") {
  Captured c;
  const MDB_dbi users = c.txn->open("users");
  CHECK(c.txn->put(1, "a", "1") == 0);
  CHECK(c.txn->put(users, "alice", "x") == 0);
  CHECK(c.txn->del(1, "a") == 0);
  CHECK(c.txn->del(users, "nobody") == MDB_NOTFOUND);
  CHECK(c.lines() ==
        Lines{"create users flags=0", "put (main) a=1", "put users alice=x", "delete (main) a"});
}

TEST_CASE("a data argument is ignored by a delete without duplicates") {
  Captured c;
  const MDB_dbi dups = c.txn->open("dups", MDB_CREATE | MDB_DUPSORT);
  c.txn->put(1, "k", "1");
  c.txn->put(dups, "k", "1");
  c.txn->put(dups, "k", "2");
  c.next();
  CHECK(c.txn->del(1, "k", "other") == 0);
  CHECK(c.txn->del(dups, "k", "2") == 0);
  CHECK(c.txn->del(dups, "k", "3") == MDB_NOTFOUND);
  CHECK(c.txn->del(dups, "k") == 0);
  CHECK(c.lines() == Lines{"delete (main) k", "delete_pair dups k=2", "delete dups k"});
}

TEST_CASE("refused puts leave no operation and a transaction of nothing else leaves no update") {
  Captured c;
  c.txn->put(1, "k", "1");
  c.next();
  const auto before = c.fixture.group().made();
  CHECK(c.txn->put(1, "k", "2", MDB_NOOVERWRITE) == MDB_KEYEXIST);
  CHECK(c.txn->put(1, "a", "2", MDB_APPEND) == MDB_KEYEXIST);
  CHECK(c.txn->put(1, "", "2") == MDB_BAD_VALSIZE);
  c.txn->abort();
  c.txn.emplace(c.env);
  CHECK(c.txn->put(1, "k", "2", MDB_NOOVERWRITE) == MDB_KEYEXIST);
  CHECK(c.txn->del(1, "none") == MDB_NOTFOUND);
  c.next();
  CHECK(c.fixture.group().made() == before);
  CHECK(c.txn->put(1, "l", "1") == 0);
  CHECK(c.lines() == Lines{"put (main) l=1"});
}

TEST_CASE("a refusal that makes LMDB's txnid advance is an empty update, so the walk goes on") {
  Captured c;
  const MDB_dbi dups = c.txn->open("dups", MDB_CREATE | MDB_DUPSORT);
  c.txn->put(dups, "k", "1");
  c.next();
  CHECK(c.txn->put(dups, "k", "1", MDB_NODUPDATA) == MDB_KEYEXIST);
  CHECK(c.lines().empty());
  c.txn->put(dups, "k", "2");
  c.next();
  CHECK(c.fixture.group().layout().environments[0].state.load() == 0);
  for (const auto& update : c.fixture.updates()) CHECK_FALSE(update.is_void);
}

TEST_CASE("an empty update for which LMDB committed nothing is void") {
  Captured c;
  c.txn->put(1, "k", "1");
  c.next();
  // Longer than a key may be: LMDB refuses it before it touches a page.
  CHECK(c.txn->put(1, std::string(600, 'x'), "1") == MDB_BAD_VALSIZE);
  c.next();
  CHECK(c.fixture.updates().back().is_void);
  CHECK(c.fixture.group().published() == c.fixture.group().made());
  c.txn->put(1, "k", "2");
  CHECK(c.lines() == Lines{"put (main) k=2"});
  CHECK(c.fixture.group().layout().environments[0].state.load() == 0);
}

TEST_CASE("MULTIPLE records what was stored, also when it ends in KEYEXIST") {
  Captured c;
  const MDB_dbi fixed = c.txn->open("fixed", MDB_CREATE | MDB_DUPSORT | MDB_DUPFIXED);
  c.txn->put(fixed, "k", "cc");
  c.next();
  char items[] = "aabbccdd";
  MDB_val key = val("k");
  MDB_val data[2] = {{2, items}, {4, nullptr}};
  {
    At cursor(*c.txn, fixed);
    CHECK(mdb_cursor_put(cursor, &key, data, MDB_MULTIPLE | MDB_NODUPDATA) == MDB_KEYEXIST);
  }
  CHECK(data[1].mv_size == 2);
  CHECK(c.lines() == Lines{"put fixed k=aa", "put fixed k=bb"});

  MDB_val all[2] = {{2, items}, {4, nullptr}};
  {
    At cursor(*c.txn, fixed);
    CHECK(mdb_cursor_put(cursor, &key, all, MDB_MULTIPLE) == 0);
  }
  CHECK(all[1].mv_size == 4);
  CHECK(c.lines() == Lines{"put fixed k=aa", "put fixed k=bb", "put fixed k=cc", "put fixed k=dd"});

  c.txn->put(fixed, "single", "aa");
  c.next();
  MDB_val single = val("single");
  MDB_val again[2] = {{2, items}, {4, nullptr}};
  {
    At cursor(*c.txn, fixed);
    CHECK(mdb_cursor_put(cursor, &single, again, MDB_MULTIPLE) == 0);
  }
  CHECK(again[1].mv_size == 0);  // LMDB ends at a value that is the key's only one
  CHECK(c.lines().empty());
  CHECK(c.fixture.group().layout().environments[0].state.load() == 0);

  MDB_val wrong[2] = {{2, items}, {4, nullptr}};
  {
    At cursor(*c.txn, 1);
    CHECK(mdb_cursor_put(cursor, &key, wrong, MDB_MULTIPLE) == MDB_INCOMPATIBLE);
  }
}

TEST_CASE("CURRENT replaces the item at the cursor, whatever key is given") {
  Captured c;
  c.txn->put(1, "b", "1");
  c.txn->put(1, "d", "1");
  c.next();
  CHECK(At(*c.txn, 1, "b").put("ignored", "2", MDB_CURRENT) == 0);  // same size: key not looked at
  CHECK(c.lines() == Lines{"put (main) b=2"});
  CHECK(At(*c.txn, 1, "b").put("c", "longer", MDB_CURRENT) == 0);  // moved: gets the given key
  CHECK(c.lines() == Lines{"delete (main) b", "put (main) c=longer"});
}

TEST_CASE("CURRENT among duplicates deletes the old pair and puts the new one") {
  Captured c;
  const MDB_dbi dups = c.txn->open("dups", MDB_CREATE | MDB_DUPSORT);
  c.txn->put(dups, "k", "b");
  c.txn->put(dups, "k", "d");
  c.txn->put(dups, "one", "x");
  c.next();
  CHECK(At(*c.txn, dups, "k", "b").put("k", "c", MDB_CURRENT) == 0);
  CHECK(At(*c.txn, dups, "one").put("one", "longer", MDB_CURRENT) == 0);
  CHECK(c.lines() == Lines{"delete_pair dups k=b", "put dups k=c", "delete_pair dups one=x",
                           "put dups one=longer"});
  Content content = content_of(c.env.get());
  CHECK(content["dups"].items ==
        decltype(content["dups"].items){{"k", "c"}, {"k", "d"}, {"one", "longer"}});
}

TEST_CASE("CURRENT behind the last item is refused instead of writing there") {
  Captured c;
  c.txn->put(1, "a", "1");
  c.txn->put(1, "b", "1");
  At cursor(*c.txn, 1, "b");
  CHECK(mdb_cursor_del(cursor, 0) == 0);
  CHECK(cursor.put("b", "2", MDB_CURRENT) == MDB_NOTFOUND);
}

TEST_CASE("cursor deletes record the key, or the duplicate") {
  Captured c;
  const MDB_dbi dups = c.txn->open("dups", MDB_CREATE | MDB_DUPSORT);
  for (const char* value : {"1", "2", "3"}) c.txn->put(dups, "k", value);
  c.txn->put(dups, "l", "1");
  c.txn->put(1, "m", "1");
  c.next();
  CHECK(mdb_cursor_del(At(*c.txn, dups, "k", "2"), 0) == 0);
  CHECK(mdb_cursor_del(At(*c.txn, dups, "k", "1"), MDB_NODUPDATA) == 0);
  CHECK(mdb_cursor_del(At(*c.txn, dups, "l"), 0) == 0);
  CHECK(mdb_cursor_del(At(*c.txn, 1, "m"), 0) == 0);
  CHECK(mdb_cursor_del(At(*c.txn, 1), 0) == EINVAL);
  CHECK(c.lines() ==
        Lines{"delete_pair dups k=2", "delete dups k", "delete_pair dups l=1", "delete (main) m"});
}

TEST_CASE("RESERVE is read back at the next write, at commit, and through a nested transaction") {
  Captured c;
  const auto reserve = [](MDB_txn* txn, const char* key, std::size_t size) {
    MDB_val k = val(key), v{size, nullptr};
    REQUIRE(mdb_put(txn, 1, &k, &v, MDB_RESERVE) == 0);
    return static_cast<char*>(v.mv_data);
  };
  std::memcpy(reserve(*c.txn, "a", 3), "one", 3);
  c.txn->put(1, "b", "x");
  char* const late = reserve(*c.txn, "c", 5);
  std::memcpy(late, "three", 5);
  CHECK(c.lines() == Lines{"put (main) a=one", "put (main) b=x", "put (main) c=three"});

  char* const parents = reserve(*c.txn, "d", 4);
  {
    Txn child(c.env.get(), *c.txn);
    std::memcpy(parents, "four", 4);
    child.put(1, "e", "gone");
    std::memcpy(reserve(child, "f", 4), "gone", 4);
  }
  CHECK(c.lines() == Lines{"put (main) d=four"});

  Txn child(c.env.get(), *c.txn);
  std::memcpy(reserve(child, "g", 5), "seven", 5);
  CHECK(child.commit() == 0);
  CHECK(c.lines() == Lines{"put (main) g=seven"});
}

TEST_CASE("nested transactions join their parent at commit and vanish at abort") {
  Captured c;
  c.txn->put(1, "a", "1");
  {
    Txn child(c.env.get(), *c.txn);
    child.put(1, "b", "1");
    {
      Txn grandchild(c.env.get(), child);
      grandchild.put(1, "c", "1");
      CHECK(c.txn->put(1, "x", "1") == MDB_BAD_TXN);  // a parent waits for its child
      CHECK(grandchild.commit() == 0);
    }
    Txn aborted(c.env.get(), child);
    aborted.put(1, "d", "1");
    aborted.abort();
    CHECK(child.commit() == 0);
  }
  MDB_txn* left_open = nullptr;  // the parent's commit ends it
  REQUIRE(mdb_txn_begin(c.env.get(), *c.txn, 0, &left_open) == 0);
  MDB_val key = val("e"), value = val("1");
  CHECK(mdb_put(left_open, 1, &key, &value, 0) == 0);
  CHECK(c.lines() == Lines{"put (main) a=1", "put (main) b=1", "put (main) c=1", "put (main) e=1"});
}

TEST_CASE("creation, clearing and dropping of databases are recorded once each") {
  Captured c;
  const MDB_dbi a = c.txn->open("a", MDB_CREATE | MDB_INTEGERKEY);
  c.txn->open("a", MDB_CREATE);  // exists by now
  MDB_dbi missing = 0;
  CHECK(mdb_dbi_open(*c.txn, "b", 0, &missing) == MDB_NOTFOUND);
  CHECK(c.lines() == Lines{"create a flags=8"});
  CHECK(mdb_drop(*c.txn, a, 0) == 0);
  CHECK(mdb_drop(*c.txn, a, 1) == 0);
  const MDB_dbi again = c.txn->open("a", MDB_CREATE | MDB_DUPSORT);
  CHECK(c.txn->put(again, "k", "v") == 0);
  CHECK(c.lines() == Lines{"clear a", "drop a", "create a flags=4", "put a k=v"});
}

TEST_CASE("what an aborted nested transaction created or dropped is not recorded") {
  Captured c;
  const MDB_dbi keep = c.txn->open("keep");
  c.txn->put(keep, "k", "v");
  c.next();
  {
    Txn child(c.env.get(), *c.txn);
    child.put(child.open("new"), "k", "v");
    CHECK(mdb_drop(child, keep, 0) == 0);
  }
  MDB_dbi dbi = 0;
  CHECK(mdb_dbi_open(*c.txn, "new", 0, &dbi) == MDB_NOTFOUND);
  const MDB_dbi again = c.txn->open("new", MDB_CREATE | MDB_DUPSORT);
  CHECK(c.txn->put(again, "k", "1") == 0);
  CHECK(c.txn->put(keep, "l", "v") == 0);
  CHECK(c.lines() == Lines{"create new flags=4", "put new k=1", "put keep l=v"});
}

TEST_CASE("flags that opening adds to the main database are recorded") {
  Captured c;
  c.txn->open(nullptr, MDB_DUPSORT);
  c.txn->open(nullptr, MDB_DUPSORT);
  CHECK(c.lines() == Lines{"create (main) flags=4"});
  c.txn->put(1, "k", "1");
  c.txn->put(1, "k", "2");
  CHECK(mdb_drop(*c.txn, 1, 0) == 0);
  CHECK(c.lines() == Lines{"put (main) k=1", "put (main) k=2", "clear (main)"});
}

TEST_CASE("emptying the main database and writing named ones exclude each other") {
  Captured c;
  const MDB_dbi a = c.txn->open("a");
  c.txn->put(a, "k", "v");
  CHECK(mdb_drop(*c.txn, 1, 0) == EACCES);
  c.next();
  CHECK(mdb_drop(*c.txn, 1, 0) == 0);
  CHECK(c.txn->put(a, "k", "v") == EACCES);
  const MDB_dbi b = c.txn->open("b");
  CHECK(c.txn->put(b, "k", "v") == 0);
  CHECK(c.lines() == Lines{"clear (main)", "create b flags=0", "put b k=v"});
}

TEST_CASE("a key taken from the page that the call changes is recorded as it was") {
  Captured c;
  for (const char* key : {"a", "b", "c"}) c.txn->put(1, key, "12345678");
  c.next();
  c.txn->put(1, "a", "87654321");
  MDB_val key = val("b"), value{};
  {
    At cursor(*c.txn, 1);
    REQUIRE(mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY) == 0);
    CHECK(mdb_put(*c.txn, 1, &key, &value, 0) == 0);
    CHECK(mdb_del(*c.txn, 1, &key, nullptr) == 0);
  }
  CHECK(c.lines() == Lines{"put (main) a=87654321", "put (main) b=12345678", "delete (main) b"});
}

TEST_CASE("long values are split into parts") {
  Captured c;
  const std::string value(600'000, 'v');
  c.txn->put(1, "k", value);
  CHECK(c.lines() == Lines{"put_large (main) k 600000", "value_part (main) 262144",
                           "value_part (main) 262144", "value_part (main) 75712"});
}
