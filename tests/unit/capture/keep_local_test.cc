// SPDX-License-Identifier: Apache-2.0
// Keep-local data: written on every node, recorded on none.
#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {
std::atomic<int> g_syncs{0};
std::atomic<int> g_failing_sync{0};  // the count at which the disk fails
}  // namespace

// LMDB's syncs and the journal's: this program's function comes before the C library's.
extern "C" __attribute__((visibility("default"))) int fdatasync(int fd) {
  if (++g_syncs == g_failing_sync) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

namespace {

using Lines = std::vector<std::string>;
const Lines kRules = {"licence", "settings:host.*", "settings:name", "numbers:0x2a00000000000000",
                      ":own*"};

int put_in(MDB_env* env, const char* database, const char* key, const char* value) {
  Txn txn(env);
  const MDB_dbi dbi = txn.open(database, database != nullptr ? MDB_CREATE : 0);
  if (const int rc = txn.put(dbi, key, value); rc != 0) return rc;
  return txn.commit();
}

bool has(MDB_env* env, const char* database, const char* key, const char* value) {
  return content_of(env)[database].items.contains({key, value});
}

int fill_anew(MDB_env* env, const char* name) {
  Txn txn(env);
  MDB_dbi dbi = 0;
  if (const int rc = mdb_dbi_open(txn, name, MDB_CREATE, &dbi); rc != 0) return rc;
  if (const int rc = txn.put(dbi, "key", "mine"); rc != 0) return rc;
  return txn.commit();
}

/// A copy as the slave's applier leaves it: LMDB stands at the txnid the table says.
void become_copy(GroupFixture& fixture, MDB_env* env) {
  auto& entry = fixture.group().layout().environments[0];
  MDB_envinfo info{};
  mdb_env_info(env, &info);
  fixture.set_role(control::Role::kSlave);
  entry.baselined.store(0);
  entry.last_txnid.store(info.me_last_txnid);
  entry.applying_txnid.store(0);
}

std::uint64_t last_txnid(MDB_env* env) {
  MDB_envinfo info{};
  mdb_env_info(env, &info);
  return info.me_last_txnid;
}

}  // namespace

TEST_CASE("kept items are stored and not recorded, the rest of the transaction is") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  Txn txn(env);
  const MDB_dbi settings = txn.open("settings");
  const MDB_dbi licence = txn.open("licence");
  const MDB_dbi numbers = txn.open("numbers", MDB_CREATE | MDB_INTEGERKEY);
  const MDB_dbi main = txn.open(nullptr, 0);
  CHECK(txn.put(settings, "host.name", "paris") == 0);
  CHECK(txn.put(settings, "theme", "dark") == 0);
  CHECK(txn.put(settings, "name", "x") == 0);
  CHECK(txn.del(settings, "name") == 0);
  CHECK(txn.put(licence, "key", "secret") == 0);
  CHECK(txn.put(numbers, std::string("\x2a\0\0\0\0\0\0\0", 8), "1") == 0);
  CHECK(txn.put(numbers, std::string("\x2b\0\0\0\0\0\0\0", 8), "2") == 0);
  CHECK(txn.put(main, "own.x", "1") == 0);
  CHECK(txn.put(main, "x", "1") == 0);
  REQUIRE(txn.commit() == 0);
  CHECK(fixture.last_operations() == Lines{"create settings flags=0", "create numbers flags=8",
                                           "put settings theme=dark",
                                           "put numbers 0x2b00000000000000=2", "put (main) x=1"});
  CHECK(fixture.updates().back().kept_local);
  CHECK(has(env.get(), "licence", "key", "secret"));
  CHECK(has(env.get(), "settings", "host.name", "paris"));
  CHECK(has(env.get(), "", "own.x", "1"));
}

TEST_CASE("a transaction of kept data alone is an empty, marked update, and the walk goes on") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_in(env.get(), "zones", "a", "1") == 0);
  CHECK_FALSE(fixture.updates().back().kept_local);
  REQUIRE(put_in(env.get(), "licence", "key", "1") == 0);
  CHECK(fixture.last_operations().empty());
  CHECK(fixture.updates().back().kept_local);
  CHECK(fixture.updates().back().txnid.value == last_txnid(env.get()));
  REQUIRE(put_in(env.get(), "zones", "a", "2") == 0);
  CHECK_FALSE(fixture.updates().back().kept_local);
  CHECK(fixture.group().layout().environments[0].state.load() == 0);
}

TEST_CASE("kept data is synced whole before its commit returns, other data as before") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  const std::string path = fixture.environment_directory("env");
  const auto syncs_of = [](MDB_env* env, const char* database) {
    REQUIRE(put_in(env, database, "k", "0") ==
            0);  // the databases and the journal's segment are there
    const int before = g_syncs.load();
    REQUIRE(put_in(env, database, "k", "1") == 0);
    return g_syncs.load() - before;
  };
  {
    Env env(path);
    const int sent = syncs_of(env.get(), "zones");
    CHECK(sent == 2);  // the journal, LMDB's data
    CHECK(syncs_of(env.get(), "licence") == sent + 1);
    become_copy(fixture, env.get());
    CHECK(syncs_of(env.get(), "licence") == 2);  // LMDB's data, then all of it
    fixture.set_role(control::Role::kMaster);
  }
  Env env(path, MDB_NOSYNC);
  CHECK(syncs_of(env.get(), "licence") == 0);
}

TEST_CASE("a commit whose kept data the disk does not take has happened, and waits to be sent") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  control::Group& group = fixture.group();
  REQUIRE(put_in(env.get(), "licence", "k", "0") == 0);
  g_failing_sync = g_syncs + 3;  // the journal, LMDB's data, then all of it
  CHECK(put_in(env.get(), "licence", "k", "1") == 0);
  CHECK(g_syncs == g_failing_sync);
  CHECK(content_of(env.get())["licence"].items.contains({"k", "1"}));
  CHECK(group.incidents().find("HB-local-unsynced", group.layout().environments[0].name));
  CHECK(group.published() < group.made());
  REQUIRE(put_in(env.get(), "zones", "k", "1") == 0);  // syncs what was left first
  CHECK(group.published() == group.made());
  for (const auto& update : fixture.updates()) CHECK_FALSE(update.is_void);
}

TEST_CASE("a commit that LMDB's disk fails is told to people too, until one succeeds") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_in(env.get(), "zones", "k", "0") == 0);
  g_failing_sync = g_syncs + 2;
  CHECK(put_in(env.get(), "zones", "k", "1") == EIO);
  const char* const name = fixture.group().layout().environments[0].name;
  CHECK(fixture.group().incidents().find("HB-commit-failed", name));
  REQUIRE(put_in(env.get(), "zones", "k", "2") == 0);
  CHECK_FALSE(fixture.group().incidents().find("HB-commit-failed", name));
}

TEST_CASE("what an aborted nested transaction kept does not mark the update") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  Txn txn(env);
  const MDB_dbi zones = txn.open("zones");
  {
    Txn nested(env.get(), txn);
    CHECK(nested.put(nested.open("settings"), "host.a", "1") == 0);
  }
  REQUIRE(txn.put(zones, "a", "1") == 0);
  REQUIRE(txn.commit() == 0);
  CHECK_FALSE(fixture.updates().back().kept_local);
  Txn outer(env);
  {
    Txn nested(env.get(), outer);
    CHECK(nested.put(nested.open("settings"), "host.a", "1") == 0);
    REQUIRE(nested.commit() == 0);
  }
  REQUIRE(outer.commit() == 0);
  CHECK(fixture.last_operations() == Lines{"create settings flags=0"});
  CHECK(fixture.updates().back().kept_local);
}

TEST_CASE("cursors, RESERVE, MULTIPLE and CURRENT record nothing of kept items") {
  GroupFixture fixture;
  fixture.keep_local({"d:k*"});
  Env env(fixture.environment_directory("env"));
  Txn txn(env);
  const unsigned flags = MDB_CREATE | MDB_DUPSORT | MDB_DUPFIXED;
  const MDB_dbi d = txn.open("d", flags);
  {
    At cursor(txn, d);
    CHECK(cursor.put("k1", "a", 0) == 0);
    CHECK(cursor.put("s1", "a", 0) == 0);
    char values[] = "bcd";
    MDB_val key = val("k2"), data[2] = {{1, values}, {3, nullptr}};
    CHECK(mdb_cursor_put(cursor, &key, data, MDB_MULTIPLE) == 0);
  }
  {
    At cursor(txn, d, "k1", "a");
    CHECK(cursor.put("k1", "z", MDB_CURRENT) == 0);
  }
  {
    At cursor(txn, d, "k2", "c");
    CHECK(mdb_cursor_del(cursor, 0) == 0);
  }
  {
    At cursor(txn, d, "s1", "a");
    CHECK(mdb_cursor_del(cursor, 0) == 0);
  }
  const MDB_dbi plain = txn.open("d2");
  CHECK(txn.put(plain, "k", "sent") == 0);
  REQUIRE(txn.commit() == 0);
  CHECK(fixture.last_operations() == Lines{"create d flags=20", "put d s1=a", "delete_pair d s1=a",
                                           "create d2 flags=0", "put d2 k=sent"});
  fixture.keep_local({"d:k*", "d2:k"});
  Txn next(env);
  MDB_val key = val("k"), data{3, nullptr};
  REQUIRE(mdb_put(next, plain, &key, &data, MDB_RESERVE) == 0);
  std::memcpy(data.mv_data, "own", 3);
  REQUIRE(next.commit() == 0);
  CHECK(fixture.last_operations().empty());
  CHECK(has(env.get(), "d2", "k", "own"));
}

TEST_CASE("a drop over kept keys is recorded, a drop of a kept database is not") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_in(env.get(), "settings", "host.a", "1") == 0);
  REQUIRE(put_in(env.get(), "licence", "key", "1") == 0);
  REQUIRE(put_in(env.get(), "zones", "a", "1") == 0);
  const auto drop = [&](const char* name, int del) {
    Txn txn(env);
    REQUIRE(mdb_drop(txn, txn.open(name, 0), del) == 0);
    REQUIRE(txn.commit() == 0);
  };
  drop("settings", 0);
  CHECK(fixture.last_operations() == Lines{"clear settings"});
  CHECK(fixture.updates().back().kept_local);
  drop("settings", 1);
  CHECK(fixture.last_operations() == Lines{"drop settings"});
  drop("licence", 1);
  CHECK(fixture.last_operations().empty());
  CHECK(fixture.updates().back().kept_local);
  drop("zones", 0);
  CHECK(fixture.last_operations() == Lines{"clear zones"});
  CHECK_FALSE(fixture.updates().back().kept_local);
  drop(nullptr, 0);
  CHECK(fixture.last_operations() == Lines{"clear (main)"});
  CHECK(fixture.updates().back().kept_local);
}

TEST_CASE("a slave's own programs write kept data, and nothing else") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_in(env.get(), "settings", "theme", "dark") == 0);
  for (const auto role : {control::Role::kSlave, control::Role::kFenced}) {
    become_copy(fixture, env.get());
    fixture.set_role(role);
    const auto made = fixture.group().made();
    CHECK(put_in(env.get(), "settings", "host.name", "lyon") == 0);
    CHECK(put_in(env.get(), nullptr, "own", "1") == 0);
    CHECK(fill_anew(env.get(), "licence") == 0);
    CHECK(has(env.get(), "licence", "key", "mine"));
    CHECK(put_in(env.get(), "settings", "theme", "light") == EACCES);
    CHECK(put_in(env.get(), nullptr, "other", "1") == EACCES);
    CHECK(fill_anew(env.get(), "other") == EACCES);
    {
      Txn txn(env);
      const MDB_dbi settings = txn.open("settings", 0);
      CHECK(mdb_drop(txn, settings, 0) == EACCES);
      At cursor(txn, settings, "theme");
      CHECK(mdb_cursor_del(cursor, 0) == EACCES);
      CHECK(cursor.put("host.name", "x", MDB_CURRENT) == EACCES);  // would move what is sent
      At own(txn, settings, "host.name");
      CHECK(mdb_cursor_del(own, 0) == 0);
      CHECK(mdb_drop(txn, txn.open("licence", 0), 1) == 0);
      REQUIRE(txn.commit() == 0);
    }
    CHECK(content_of(env.get())["settings"].items ==
          std::set<std::pair<std::string, std::string>>{{"theme", "dark"}});
    CHECK_FALSE(content_of(env.get()).contains("licence"));
    CHECK(fixture.group().made() == made);
    CHECK(fixture.group().incidents().open().empty());
  }
}

TEST_CASE("a slave's own commits are accounted for, and a foreign one among them is noticed") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_in(env.get(), "licence", "key", "1") == 0);
  become_copy(fixture, env.get());
  control::Group& group = fixture.group();
  auto& entry = group.layout().environments[0];
  for (int n = 0; n < 3; ++n) REQUIRE(put_in(env.get(), "licence", "key", "2") == 0);
  CHECK(control::Group::accounts_for(entry, TxnId(last_txnid(env.get()))));
  CHECK(entry.last_txnid.load() == last_txnid(env.get()));
  CHECK_FALSE(control::Group::accounts_for(entry, TxnId(last_txnid(env.get()) + 1)));
  // Begun and aborted: LMDB's number stays, and so does what is expected.
  {
    Txn txn(env);
    REQUIRE(txn.put(txn.open("licence", 0), "key", "3") == 0);
  }
  CHECK(control::Group::accounts_for(entry, TxnId(last_txnid(env.get()))));
  // As if somebody without the library had committed: the next own commit must not hide it.
  entry.last_txnid.store(last_txnid(env.get()) - 1);
  entry.applying_txnid.store(0);
  REQUIRE(put_in(env.get(), "licence", "key", "4") == 0);
  CHECK(group.incidents().find("HB-copy-written", "env-1"));
}

TEST_CASE("a node that becomes master while kept data is being written refuses that commit") {
  GroupFixture fixture;
  fixture.keep_local(kRules);
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_in(env.get(), "licence", "key", "1") == 0);
  become_copy(fixture, env.get());
  Txn txn(env);
  REQUIRE(txn.put(txn.open("licence", 0), "key", "2") == 0);
  fixture.set_role(control::Role::kMaster);
  CHECK(txn.commit() == EBUSY);
  CHECK(has(env.get(), "licence", "key", "1"));
  REQUIRE(put_in(env.get(), "licence", "key", "3") == 0);  // LMDB's writer lock is free
}

TEST_CASE("new rules reach a running program with its next transaction") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_in(env.get(), "licence", "key", "1") == 0);
  CHECK(fixture.last_operations().size() == 2);
  Txn txn(env);
  REQUIRE(txn.put(txn.open("licence", 0), "key", "2") == 0);
  fixture.keep_local({"licence"});
  REQUIRE(txn.put(txn.open("licence", 0), "key2", "2") == 0);
  REQUIRE(txn.commit() == 0);
  CHECK(fixture.last_operations() == Lines{"put licence key=2", "put licence key2=2"});
  REQUIRE(put_in(env.get(), "licence", "key", "3") == 0);
  CHECK(fixture.last_operations().empty());
  // A change of rules that was cut short lets nothing pass until it is finished.
  fixture.group().layout().keep_local_sequence.fetch_add(1);
  CHECK(put_in(env.get(), "licence", "key", "4") == EBUSY);
  fixture.keep_local({"licence"});
  CHECK(put_in(env.get(), "licence", "key", "4") == 0);
}

TEST_CASE("a kept database may be in an order that only its program knows") {
  GroupFixture fixture;
  fixture.keep_local({"licence"});
  Env env(fixture.environment_directory("env"));
  Txn txn(env);
  const auto compare = [](const MDB_val* a, const MDB_val* b) -> int {
    return static_cast<int>(a->mv_size) - static_cast<int>(b->mv_size);
  };
  for (const char* name : {"licence", "zones"}) {
    const MDB_dbi dbi = txn.open(name);
    REQUIRE(mdb_set_compare(txn, dbi, compare) == 0);
    CHECK(txn.put(dbi, "key", "1") == (std::string(name) == "licence" ? 0 : EACCES));
  }
  REQUIRE(txn.commit() == 0);
}
