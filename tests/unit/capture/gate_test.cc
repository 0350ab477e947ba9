// SPDX-License-Identifier: Apache-2.0
// Who may write, which files are captured at all, and what the program sees of it.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "common/os/process.h"
#include "master/capture/hotbackup.h"
#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

void fill(MDB_env* env, const char* key = "k") {
  Txn txn(env);
  const MDB_dbi main = txn.open(nullptr, 0);
  const MDB_dbi users = txn.open("users");
  REQUIRE(txn.put(main, key, "1") == 0);
  REQUIRE(txn.put(users, key, "1") == 0);
  REQUIRE(txn.commit() == 0);
}

/// Every way to change something is refused, and reading in a write transaction works.
void check_read_only(MDB_env* env) {
  Txn txn(env);
  const MDB_dbi main = txn.open(nullptr, 0);
  const MDB_dbi users = txn.open("users");  // MDB_CREATE of what exists
  MDB_dbi none = 0;
  CHECK(mdb_dbi_open(txn, "new", MDB_CREATE, &none) == EACCES);
  CHECK(mdb_dbi_open(txn, nullptr, MDB_DUPSORT, &none) == EACCES);
  CHECK(txn.put(users, "x", "1") == EACCES);
  CHECK(txn.del(users, "k") == EACCES);
  CHECK(mdb_drop(txn, users, 0) == EACCES);
  MDB_val key = val("k"), value{};
  CHECK(mdb_get(txn, users, &key, &value) == 0);
  {
    At cursor(txn, main, "k");
    CHECK(cursor.put("k", "2", 0) == EACCES);
    CHECK(mdb_cursor_del(cursor, 0) == EACCES);
  }
  CHECK(txn.commit() == 0);
}

void relink(const std::string& link, const std::string& target) {
  std::filesystem::remove(link);
  REQUIRE(::symlink(target.c_str(), link.c_str()) == 0);
}

}  // namespace

TEST_CASE("a slave and a fenced node refuse the first change and let write transactions read") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  fill(env.get());
  const auto made = fixture.group().made();
  for (const auto role : {control::Role::kSlave, control::Role::kFenced}) {
    fixture.set_role(role);
    check_read_only(env.get());
    CHECK(hotbackup_role(env.get()) == static_cast<int>(role));
  }
  CHECK(fixture.group().made() == made);
}

TEST_CASE("a role that is lost between a change and its commit makes the commit fail") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  fill(env.get());
  const auto made = fixture.group().made();
  Txn txn(env);
  REQUIRE(txn.put(txn.open("users"), "late", "1") == 0);
  fixture.set_role(control::Role::kFenced);
  CHECK(txn.commit() == EACCES);
  fixture.set_role(control::Role::kMaster);
  CHECK(fixture.group().made() == made);
  CHECK_FALSE(content_of(env.get())["users"].items.contains({"late", "1"}));
  fill(env.get(), "next");  // LMDB's writer lock is free
}

TEST_CASE("a link that leads nowhere lets reads pass and refuses writes") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  {
    Env env(path);
    fill(env.get());
  }
  relink(path + "/.hotbackup", fixture.path() + "/not-mounted");
  Env env(path);
  check_read_only(env.get());
  CHECK(hotbackup_role(env.get()) == HOTBACKUP_NOT_CAPTURED);
  Env reader(fixture.data() + "/env-other", MDB_NOSUBDIR);
}

TEST_CASE("a group directory of a stranger is not trusted") {
  if (::geteuid() != 0) {
    MESSAGE("needs root to make files of another user");
    return;
  }
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  {
    Env env(path);
    fill(env.get());
  }
  // Root's data, a group directory of user 12345, and this process as user 54321.
  REQUIRE(::chown(fixture.group_path().c_str(), 12345, 12345) == 0);
  {
    Env env(path);
    check_read_only(env.get());
  }
  // The data file's owner may decide about it.
  REQUIRE(::chown((path + "/data.mdb").c_str(), 12345, 12345) == 0);
  Env env(path);
  fill(env.get(), "trusted");
}

TEST_CASE("files without a link, and files that the group does not cover, are LMDB's alone") {
  GroupFixture fixture;
  const auto made = fixture.group().made();
  const std::string outside = fixture.path() + "/outside";
  std::filesystem::create_directory(outside);
  Env none(outside);
  fill(none.get());
  Env uncovered(fixture.data() + "/other.mdb", MDB_NOSUBDIR);
  fill(uncovered.get());
  CHECK(fixture.group().made() == made);
  unsigned flags = 0;
  REQUIRE(mdb_env_get_flags(uncovered.get(), &flags) == 0);
  CHECK((flags & MDB_NOMETASYNC) == 0);
  CHECK(hotbackup_role(none.get()) == HOTBACKUP_NOT_CAPTURED);
  CHECK(hotbackup_wait(none.get(), 1, HOTBACKUP_APPLIED, 0) == EINVAL);
}

TEST_CASE("files that match a pattern join one by one, lock files do not") {
  GroupFixture fixture;
  for (const char* name : {"env.a", "env.b"}) {
    Env env(fixture.data() + "/" + name, MDB_NOSUBDIR);
    fill(env.get());
  }
  REQUIRE(fixture.group().environment_count() == 2);
  CHECK(std::string(fixture.group().layout().environments[1].match) == ".b");
  CHECK(fixture.group().environment_at(fixture.data() + "/env.a-lock") == nullptr);
  Env again(fixture.data() + "/env.a", MDB_NOSUBDIR);
  fill(again.get());
  CHECK(fixture.group().environment_count() == 2);
}

TEST_CASE("flags underneath are hidden, and set_flags keeps to what was asked for") {
  GroupFixture fixture;
  Env env(fixture.data() + "/env", MDB_NOSUBDIR | MDB_NOLOCK);
  unsigned flags = 0;
  REQUIRE(mdb_env_get_flags(env.get(), &flags) == 0);
  CHECK((flags & (MDB_NOLOCK | MDB_NOSUBDIR)) == (MDB_NOLOCK | MDB_NOSUBDIR));
  CHECK((flags & (MDB_NOTLS | MDB_NOMETASYNC)) == 0);
  CHECK(std::filesystem::exists(fixture.data() + "/env-lock"));  // locks are kept all the same
  REQUIRE(mdb_env_set_flags(env.get(), MDB_NOMETASYNC, 1) == 0);
  REQUIRE(mdb_env_get_flags(env.get(), &flags) == 0);
  CHECK((flags & MDB_NOMETASYNC) != 0);
  REQUIRE(mdb_env_set_flags(env.get(), MDB_NOMETASYNC, 0) == 0);
  REQUIRE(mdb_env_get_flags(env.get(), &flags) == 0);
  CHECK((flags & MDB_NOMETASYNC) == 0);
  CHECK(mdb_env_set_flags(env.get(), MDB_RDONLY, 1) == EINVAL);
}

TEST_CASE("a reader with many transactions a thread works under NOLOCK opened with locks") {
  GroupFixture fixture;
  Env env(fixture.data() + "/env", MDB_NOSUBDIR | MDB_NOLOCK);
  fill(env.get());
  Txn first(env, MDB_RDONLY), second(env, MDB_RDONLY);
}

TEST_CASE("a database with the program's own order is refused") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  Txn txn(env);
  const MDB_dbi users = txn.open("users");
  REQUIRE(mdb_set_compare(txn, users, [](const MDB_val*, const MDB_val*) { return 0; }) == 0);
  CHECK(txn.put(users, "k", "1") == EACCES);
  CHECK(txn.put(txn.open("other"), "k", "1") == 0);
}

TEST_CASE("an order that was set in an aborted transaction is forgotten with its handle") {
  const auto same = [](const MDB_val*, const MDB_val*) { return 0; };
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  {
    Txn txn(env);
    REQUIRE(mdb_set_compare(txn, txn.open("users"), same) == 0);
  }
  {
    Txn txn(env);
    const MDB_dbi users = txn.open("users");
    CHECK(txn.put(users, "k", "1") == 0);
    Txn nested(env.get(), txn);
    REQUIRE(mdb_set_compare(nested, nested.open("others"), same) == 0);
    nested.abort();
    CHECK(txn.put(txn.open("others"), "k", "1") == 0);
    CHECK(txn.put(users, "l", "1") == 0);
    REQUIRE(txn.commit() == 0);
  }
  Txn txn(env);
  REQUIRE(mdb_set_compare(txn, txn.open("users"), same) == 0);  // the handle stays open
  txn.abort();
  Txn next(env);
  CHECK(next.put(next.open("users"), "m", "1") == EACCES);
}

TEST_CASE("the child of a fork cannot go on with the write transaction of its parent") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  Txn txn(env);
  const MDB_dbi users = txn.open("users");
  REQUIRE(txn.put(users, "parent", "1") == 0);
  MDB_cursor* cursor = nullptr;
  REQUIRE(mdb_cursor_open(txn, users, &cursor) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    MDB_val key = val("child"), data = val("1");
    MDB_dbi dbi = 0;
    if (mdb_put(txn, users, &key, &data, 0) != EINVAL) ::_exit(1);
    if (mdb_del(txn, users, &key, nullptr) != EINVAL) ::_exit(2);
    if (mdb_cursor_put(cursor, &key, &data, 0) != EINVAL) ::_exit(3);
    if (mdb_cursor_del(cursor, 0) != EINVAL) ::_exit(4);
    if (mdb_drop(txn, users, 0) != EINVAL) ::_exit(5);
    if (mdb_dbi_open(txn, "more", MDB_CREATE, &dbi) != EINVAL) ::_exit(6);
    ::_exit(mdb_txn_commit(txn) == EINVAL ? 0 : 7);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  mdb_cursor_close(cursor);
  REQUIRE(txn.commit() == 0);
  CHECK(fixture.last_operations() ==
        std::vector<std::string>{"create users flags=0", "put users parent=1"});
  CHECK(content_of(env.get())["users"].items.size() == 1);
}

TEST_CASE("the child of a fork can do nothing with inherited handles and may open its own") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  Env env(path);
  fill(env.get());
  const pid_t child = ::fork();
  if (child == 0) {
    MDB_txn* txn = nullptr;
    if (mdb_txn_begin(env.get(), nullptr, 0, &txn) != EINVAL) ::_exit(1);
    if (mdb_txn_begin(env.get(), nullptr, MDB_RDONLY, &txn) != EINVAL) ::_exit(2);
    if (mdb_env_sync(env.get(), 1) != EINVAL) ::_exit(3);
    MDB_env* own = nullptr;
    mdb_env_create(&own);
    mdb_env_set_maxdbs(own, 4);
    if (mdb_env_open(own, (fixture.data() + "/env-child").c_str(), MDB_NOSUBDIR, 0644) != 0)
      ::_exit(4);
    if (mdb_txn_begin(own, nullptr, 0, &txn) != 0) ::_exit(5);
    MDB_dbi dbi = 0;
    if (mdb_dbi_open(txn, "child", MDB_CREATE, &dbi) != 0) ::_exit(6);
    ::_exit(mdb_txn_commit(txn) == 0 && hotbackup_last_update(own) != 0 ? 0 : 7);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(fixture.last_operations() == std::vector<std::string>{"create child flags=0"});
  fill(env.get(), "parent goes on");
}

TEST_CASE("files made by opening get the group's mode") {
  GroupFixture fixture;
  fixture.group().layout().mode = 0606;
  Env env(fixture.data() + "/env", MDB_NOSUBDIR);
  struct stat status {};
  REQUIRE(::stat((fixture.data() + "/env").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0606);
  REQUIRE(::stat((fixture.data() + "/env-lock").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0606);
}

TEST_CASE("errno is left as it was") {
  GroupFixture fixture;
  errno = 4711;
  Env env(fixture.environment_directory("env"));
  errno = 4711;
  fill(env.get());
  CHECK(errno == 4711);
}

TEST_CASE("after unlink a running program goes on without capture") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  fill(env.get());
  const auto made = fixture.group().made();
  fixture.set_role(control::Role::kNone);
  fill(env.get(), "uncaptured");
  CHECK(fixture.group().made() == made);
}

TEST_CASE("while the gate is closed a write transaction waits, and nobody has to open it") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  fill(env.get());
  REQUIRE(fixture.group().pause_gate(std::chrono::milliseconds(150), /*first=*/true));
  const std::int64_t until = fixture.group().layout().roles.gate_until_ns.load();
  fill(env.get(), "waited");
  CHECK(os::boottime_ns() >= until);
  CHECK(content_of(env.get())["users"].items.contains({"waited", "1"}));
  // Who closed it was too late to close it longer.
  CHECK_FALSE(fixture.group().pause_gate(std::chrono::milliseconds(150), /*first=*/false));
}

TEST_CASE("a thread that holds a write transaction passes the closed gate, and is counted") {
  GroupFixture fixture;
  Env one(fixture.environment_directory("env"));
  Env two(fixture.environment_directory("env2"));
  fill(one.get());
  fill(two.get());
  const auto& roles = fixture.group().layout().roles;
  {
    Txn first(one);
    REQUIRE(fixture.group().pause_gate(std::chrono::hours(1), /*first=*/true));
    Txn second(two);  // would wait for an hour
    CHECK(roles.gate_passed.load() == 1);
    CHECK(first.put(first.open("users"), "both", "1") == 0);
    CHECK(second.put(second.open("users"), "both", "1") == 0);
    CHECK(second.commit() == 0);
    CHECK(first.commit() == 0);
  }
  fixture.group().open_gate();
  fill(one.get(), "after");
  CHECK(roles.gate_passed.load() == 1);
}

TEST_CASE("a lease that has run out refuses the commit, and nothing is journaled") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  fill(env.get());
  auto& roles = fixture.group().layout().roles;
  roles.lease_ns.store(1'000'000'000);
  roles.lease_until_ns.store(os::boottime_ns() - 1);
  const auto made = fixture.group().made();
  {
    Txn txn(env);
    REQUIRE(txn.put(txn.open("users"), "late", "1") == 0);
    CHECK(txn.commit() == EACCES);
  }
  CHECK(fixture.group().made() == made);
  roles.lease_until_ns.store(os::boottime_ns() + 3'600'000'000'000);
  fill(env.get(), "again");
  CHECK(content_of(env.get())["users"].items.contains({"again", "1"}));
}
