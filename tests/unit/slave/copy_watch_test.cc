// SPDX-License-Identifier: Apache-2.0
// Copies that somebody else touches, also while nothing is applied.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "common/control/apply_decisions.h"
#include "tests/support/applier_fixture.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

slave::ApplierLimits watchful() {
  slave::ApplierLimits limits;
  limits.check_period = std::chrono::milliseconds(20);
  return limits;
}

void begin(ApplierFixture& f) {
  f.start();
  f.writer().epoch();
  f.writer().environment(environment_body(1, "env1"));
  f.writer().append(1, {put(main_database(), "a", "1")});
  f.apply_all();
}

/// In another process: an environment is opened once in a process.
void write_foreign(const std::string& path, const std::function<bool(MDB_txn*)>& write) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    MDB_env* env = nullptr;
    MDB_txn* txn = nullptr;
    const bool done = mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 8) == 0 &&
                      mdb_env_open(env, path.c_str(), MDB_NOSUBDIR, 0600) == 0 &&
                      mdb_txn_begin(env, nullptr, 0, &txn) == 0 && write(txn) &&
                      mdb_txn_commit(txn) == 0;
    ::_exit(done ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}

void write_foreign(const std::string& path) {
  write_foreign(path, [](MDB_txn* txn) {
    MDB_dbi dbi = 0;
    MDB_val item = lmdb::to_val("foreign");
    return mdb_dbi_open(txn, nullptr, 0, &dbi) == 0 && mdb_put(txn, dbi, &item, &item, 0) == 0;
  });
}

void add_flags_to_main(const std::string& path, unsigned flags) {
  write_foreign(path, [flags](MDB_txn* txn) {
    MDB_dbi dbi = 0;
    return mdb_dbi_open(txn, nullptr, flags, &dbi) == 0;
  });
}

std::optional<control::Incident> incident(ApplierFixture& f, const char* code) {
  return f.group().incidents().find(code, "env1");
}

}  // namespace

TEST_CASE("a foreign write is noticed while nothing is applied, once, and marks the copy") {
  ApplierFixture f(watchful());
  begin(f);
  CHECK_FALSE(incident(f, "HB-copy-written"));
  write_foreign(f.path_of(1));
  REQUIRE(comes_true([&] { return incident(f, "HB-copy-written").has_value(); }));
  f.writer().append(1, {put(main_database(), "a", "2")});
  f.apply_all();
  f.stop();
  CHECK(incident(f, "HB-copy-written")->count == 1);
  const auto decisions = control::read_apply_decisions(f.directory());
  REQUIRE(decisions);
  CHECK(decisions->differs.find("somebody else wrote to the copy") != std::string::npos);
}

// What liblmdb keeps in memory of a database is what it was before: a handle of one that is gone,
// or the main one's comparator of duplicates that is not there, would end the process.
TEST_CASE("a database that somebody dropped or made with other flags is made again") {
  for (const bool dropped : {true, false}) {
    ApplierFixture f;
    begin(f);
    f.writer().append(1, {put(named("names"), "x", "1")});
    f.apply_all();
    write_foreign(f.path_of(1), [&](MDB_txn* txn) {
      MDB_dbi dbi = 0;
      return mdb_dbi_open(txn, "names", 0, &dbi) == 0 && mdb_drop(txn, dbi, 1) == 0 &&
             (dropped || mdb_dbi_open(txn, "names", MDB_CREATE | MDB_DUPSORT, &dbi) == 0);
    });
    f.writer().append(1, {put(named("names"), "y", "2")});
    f.apply_all();
    f.stop();
    CHECK(f.content_of(1) == "main: a=1 | names: y=2");
    CHECK(incident(f, "HB-copy-written"));
  }
}

TEST_CASE("applying goes on in a main database that somebody made DUPSORT") {
  ApplierFixture f;
  begin(f);
  add_flags_to_main(f.path_of(1), MDB_DUPSORT);
  f.writer().append(1, {put(main_database(), "a", "2")});
  f.apply_all();
  f.stop();
  CHECK(f.content_of(1) == "main[4]: a=2");
}

TEST_CASE("where somebody made a main database DUPSORT that holds named ones, applying stops") {
  ApplierFixture f(watchful());
  begin(f);
  f.writer().append(1, {put(named("names"), "x", "1")});
  f.apply_all();
  add_flags_to_main(f.path_of(1), MDB_DUPSORT);
  const auto number = f.writer().append(1, {put(named("names"), "y", "2")}).number;
  f.wake();
  REQUIRE(comes_true([&] { return !f.applier().working(); }));
  CHECK(f.group().layout().apply_stopped_at.load() == number.value);
  CHECK(f.group().incidents().find("HB-apply-failed"));
  f.stop();
}

TEST_CASE("a death between a commit and its note is not taken for a foreign write") {
  ApplierFixture f(watchful());
  begin(f);
  f.writer().append(1, {put(main_database(), "b", "1")});
  f.apply_all();
  f.stop();
  control::EnvironmentEntry& entry = *f.group().environment(EnvironmentNumber(1));
  const std::uint64_t last = entry.last_txnid.load();
  REQUIRE(last > 1);
  entry.applying_txnid.store(last);  // as a process leaves it that dies right after the commit
  entry.last_txnid.store(last - 1);
  f.restart();
  f.start();
  f.writer().append(1, {put(main_database(), "a", "2")});
  f.apply_all();
  CHECK(f.group().incidents().open().empty());
  // The same numbers without a commit of ours on its way: somebody else.
  f.stop();
  f.group().environment(EnvironmentNumber(1))->last_txnid.store(last - 1);
  f.group().environment(EnvironmentNumber(1))->applying_txnid.store(0);
  f.restart();
  f.start();
  REQUIRE(comes_true([&] { return incident(f, "HB-copy-written").has_value(); }));
}

TEST_CASE("a copy that is replaced while nothing is applied stops applying until it is back") {
  ApplierFixture f(watchful());
  begin(f);
  const std::string path = f.path_of(1);
  std::filesystem::rename(path, path + ".aside");
  std::filesystem::copy(path + ".aside", path);
  REQUIRE(comes_true([&] { return !f.applier().working(); }));
  REQUIRE(incident(f, "HB-copy-replaced"));
  f.writer().append(1, {put(main_database(), "a", "2")});
  f.wake();
  CHECK(f.group().synced() > f.applier().applied());
  f.stop();
  // A restart does not take the stranger for the copy.
  f.restart();
  f.start();
  REQUIRE(comes_true([&] { return !f.applier().working(); }));
  CHECK(f.applier().applied().value == 3);
  f.stop();
  CHECK(f.content_of(1) == "main: a=1");  // of the stranger: nothing was written into it

  std::filesystem::rename(path + ".aside", path);
  f.start();
  f.apply_all();
  CHECK(comes_true([&] { return !incident(f, "HB-copy-replaced"); }));
  f.stop();
  CHECK(f.content_of(1) == "main: a=2");
}

TEST_CASE("a copy that was removed is an incident and is not made anew") {
  ApplierFixture f(watchful());
  begin(f);
  REQUIRE(::unlink(f.path_of(1).c_str()) == 0);
  REQUIRE(comes_true([&] { return incident(f, "HB-copy-replaced").has_value(); }));
  CHECK(incident(f, "HB-copy-replaced")->text.find("is gone") != std::string::npos);
  CHECK(comes_true([&] { return !f.applier().working(); }));
  f.stop();
  CHECK_FALSE(std::filesystem::exists(f.path_of(1)));
}
