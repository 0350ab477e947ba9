// SPDX-License-Identifier: Apache-2.0
// Operations over a copy that has keep-local items of its own.
#include "common/lmdb/kept_items.h"

#include <doctest/doctest.h>

#include "tests/support/lmdb_content.h"
#include "tests/support/temporary_directory.h"

using namespace hotbackup;
using namespace hotbackup::test;
using update::OperationKind;

namespace {

update::KeepLocalRules rules(const std::vector<std::string>& texts) {
  auto parsed = update::KeepLocalRules::parse(texts);
  REQUIRE(parsed);
  return std::move(*parsed);
}

class Fixture {
 public:
  explicit Fixture(const std::vector<std::string>& texts) : rules_(rules(texts)) {}
  /// As this site's own programs write, without rules.
  void own(const std::vector<update::Operation>& operations) {
    handles_.set_rules({});
    REQUIRE(perform(operations));
  }
  /// As the applier does, each operation in its order.
  Result<> apply(const std::vector<update::Operation>& operations, bool append = false) {
    handles_.set_rules(rules_);
    return perform(operations, append);
  }
  std::string content() { return test::content(environment_); }
  lmdb::Environment& environment() { return environment_; }
  const test::TemporaryDirectory& directory() const { return directory_; }

 private:
  Result<> perform(const std::vector<update::Operation>& operations, bool append = false) {
    auto txn = lmdb::Transaction::begin(environment_, false);
    REQUIRE(txn);
    lmdb::OperationApplier applier(handles_, append);
    for (const auto& one : operations)
      if (auto done = applier.apply(*txn, one); !done) {
        txn->abort();
        handles_.forget();
        return done;
      }
    CHECK_FALSE(applier.value_open());
    return txn->commit();
  }

  const update::KeepLocalRules rules_;
  test::TemporaryDirectory directory_;
  lmdb::Environment environment_ = open_environment(directory_ / "env");
  lmdb::DatabaseHandles handles_;
};

}  // namespace

TEST_CASE("operations on kept items and databases change nothing") {
  Fixture f({"licence", "settings:host.*", ":own*"});
  f.own({put(named("licence"), "key", "mine"), put(named("settings"), "host.name", "mine"),
         put(main_database(), "own.a", "mine")});
  const std::string before = f.content();
  REQUIRE(f.apply({put(named("licence"), "key", "theirs"),
                   operation(OperationKind::kDeleteKey, named("licence"), "key"),
                   operation(OperationKind::kClear, named("licence")),
                   operation(OperationKind::kDrop, named("licence")),
                   put(named("settings"), "host.name", "theirs"),
                   operation(OperationKind::kDeleteKey, named("settings"), "host.name"),
                   put(main_database(), "own.a", "theirs"),
                   put(main_database(), "licence", "an item"),
                   {OperationKind::kPutLarge, named("settings"), "host.big", {}, 6},
                   {OperationKind::kValuePart, named("settings"), {}, "abc", 0},
                   {OperationKind::kValuePart, named("settings"), {}, "def", 0}}));
  CHECK(f.content() == before);
  REQUIRE(f.apply({put(named("settings"), "theme", "theirs")}));
  CHECK(f.content() ==
        "main: own.a=mine | licence: key=mine | settings: host.name=mine theme=theirs");
}

TEST_CASE("emptying or dropping a database leaves its kept items, and drops it without any") {
  for (const auto kind : {OperationKind::kClear, OperationKind::kDrop}) {
    Fixture f({"settings:host.*"});
    f.own({put(named("settings"), "a", "1"), put(named("settings"), "host.a", "mine"),
           put(named("settings"), "host.b", "mine"), put(named("settings"), "z", "1")});
    REQUIRE(f.apply({operation(kind, named("settings"))}));
    CHECK(f.content() == "main: | settings: host.a=mine host.b=mine");
    REQUIRE(f.apply({operation(OperationKind::kCreate, named("settings")),
                     put(named("settings"), "again", "1")}));
    CHECK(f.content() == "main: | settings: again=1 host.a=mine host.b=mine");
    f.own({operation(OperationKind::kDeleteKey, named("settings"), "host.a"),
           operation(OperationKind::kDeleteKey, named("settings"), "host.b")});
    REQUIRE(f.apply({operation(kind, named("settings"))}));
    CHECK(f.content() == (kind == OperationKind::kDrop ? "main:" : "main: | settings:"));
  }
}

TEST_CASE("emptying the main database leaves everything kept and nothing else") {
  Fixture f({"licence", "settings:host.*", ":own*"});
  f.own({put(main_database(), "a", "1"), put(main_database(), "own.a", "mine"),
         put(main_database(), "z", "1"), put(named("licence"), "key", "mine"),
         put(named("settings"), "host.a", "mine"), put(named("settings"), "theme", "1"),
         put(named("zones"), "x", "1")});
  REQUIRE(f.apply({operation(OperationKind::kClear, main_database())}));
  CHECK(f.content() == "main: own.a=mine | licence: key=mine | settings: host.a=mine");
}

TEST_CASE("all duplicates of a kept key stay, and large databases are emptied around them") {
  Fixture f({"d:keep"});
  std::vector<update::Operation> fill;
  std::vector<std::string> keys;
  for (int n = 0; n < 3000; ++n) keys.push_back("k" + std::to_string(n));
  for (const std::string& key : keys)
    for (const char* value : {"1", "2"}) fill.push_back(put(named("d", MDB_DUPSORT), key, value));
  for (const char* value : {"1", "2", "3"})
    fill.push_back(put(named("d", MDB_DUPSORT), "keep", value));
  f.own(fill);
  REQUIRE(f.apply({operation(OperationKind::kClear, named("d", MDB_DUPSORT))}));
  CHECK(f.content() == "main: | d[4]: keep=1 keep=2 keep=3");
  REQUIRE(f.apply({operation(OperationKind::kDeletePair, named("d", MDB_DUPSORT), "keep", "2")}));
  CHECK(f.content() == "main: | d[4]: keep=1 keep=2 keep=3");
}

TEST_CASE("a database that is made anew with other flags keeps its kept items") {
  Fixture f({"d:keep*"});
  f.own({put(named("d"), "a", "1"), put(named("d"), "keep.a", "mine")});
  REQUIRE(f.apply({operation(OperationKind::kCreate, named("d", MDB_DUPSORT)),
                   put(named("d", MDB_DUPSORT), "b", "2")}));
  CHECK(f.content() == "main: | d[4]: b=2 keep.a=mine");
}

TEST_CASE("what would push kept data out of its place is refused, never done") {
  Fixture f({"settings:host.*", ":own"});
  f.own({put(named("settings"), "host.a", "mine"), put(main_database(), "own", "mine")});
  const std::string before = f.content();
  const auto item = f.apply({put(main_database(), "settings", "an item")});
  REQUIRE_FALSE(item);
  CHECK(item.error().code() == ErrorCode::kRefused);
  const auto database = f.apply({operation(OperationKind::kCreate, named("own"))});
  REQUIRE_FALSE(database);
  CHECK(database.error().code() == ErrorCode::kRefused);
  CHECK(f.content() == before);
}

TEST_CASE("content in key order goes between kept items") {
  Fixture f({":m*"});
  f.own({put(main_database(), "m1", "mine"), put(main_database(), "m2", "mine")});
  REQUIRE(f.apply({put(main_database(), "a", "1"), put(main_database(), "m1", "theirs"),
                   put(main_database(), "z", "1")},
                  /*append=*/true));
  CHECK(f.content() == "main: a=1 m1=mine m2=mine z=1");
}

TEST_CASE("kept items are carried over, counted by rule, and do not make a copy occupied") {
  Fixture f({"licence", "settings:host.*", "gone:x", ":own*"});
  const auto kept = rules({"licence", "settings:host.*", "gone:x", ":own*"});
  f.own({put(main_database(), "a", "1"), put(main_database(), "own.a", "mine"),
         put(named("licence", MDB_DUPSORT), "key", "1"),
         put(named("licence", MDB_DUPSORT), "key", "2"), put(named("settings"), "host.a", "mine"),
         put(named("settings"), "theme", "1"), put(named("zones"), "x", "1")});
  std::vector<std::uint64_t> counts(4);
  {
    auto txn = lmdb::Transaction::begin(f.environment(), true);
    const auto all = lmdb::databases(*txn);
    for (const auto& database : *all) {
      const auto some = lmdb::count_kept(*txn, database, true, kept);
      REQUIRE(some);
      for (std::size_t i = 0; i < 4; ++i) counts[i] += (*some)[i];
    }
  }
  CHECK(kept.texts() == std::vector<std::string>{":own*", "gone:x", "licence", "settings:host.*"});
  CHECK(counts == std::vector<std::uint64_t>{1, 0, 2, 1});
  const std::string path = f.directory() / "carried";
  {
    auto carried = open_environment(path);
    CHECK(*lmdb::copy_kept(f.environment(), carried, kept));
    CHECK(content(carried) == "main: own.a=mine | licence[4]: key=1 key=2 | settings: host.a=mine");
    CHECK_FALSE(*lmdb::copy_kept(f.environment(), carried, rules({"none", ":nothing*"})));
  }
  CHECK(*lmdb::has_items(path, false));
  CHECK_FALSE(*lmdb::has_items(path, false, kept));
  CHECK(*lmdb::has_items(path, false, rules({"licence", ":own*"})));
}
