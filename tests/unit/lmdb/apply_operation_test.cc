// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/apply_operation.h"

#include <doctest/doctest.h>

#include "tests/support/lmdb_content.h"
#include "tests/support/temporary_directory.h"

using namespace hotbackup;
using namespace hotbackup::test;
using update::OperationKind;

namespace {

class Fixture {
 public:
  /// Applies all in one transaction.
  Result<> apply(const std::vector<update::Operation>& operations, bool append = false) {
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
  std::string content() { return test::content(environment_); }
  lmdb::Environment& environment() { return environment_; }

 private:
  test::TemporaryDirectory directory_;
  lmdb::Environment environment_ = open_environment(directory_ / "env");
  lmdb::DatabaseHandles handles_;
};

}  // namespace

TEST_CASE("puts and deletes in the main and in named databases do what they say") {
  Fixture f;
  REQUIRE(f.apply({put(main_database(), "a", "1"), put(main_database(), "b", "2"),
                   put(named("names"), "x", "1"), put(named("names"), "y", "2")}));
  CHECK(f.content() == "main: a=1 b=2 | names: x=1 y=2");
  REQUIRE(f.apply({put(main_database(), "a", "3"),
                   operation(OperationKind::kDeleteKey, named("names"), "x"),
                   operation(OperationKind::kDeletePair, main_database(), "b", "2")}));
  CHECK(f.content() == "main: a=3 | names: y=2");
}

TEST_CASE("deleting and dropping what is not there is no error") {
  Fixture f;
  REQUIRE(f.apply({operation(OperationKind::kDeleteKey, main_database(), "a"),
                   operation(OperationKind::kDeletePair, named("d", MDB_DUPSORT), "a", "b"),
                   operation(OperationKind::kDrop, named("none"))}));
  CHECK(f.content() == "main: | d[4]:");
}

TEST_CASE("duplicates are kept, deleted one by one and all together") {
  Fixture f;
  const auto d = named("d", MDB_DUPSORT);
  REQUIRE(f.apply({put(d, "k", "2"), put(d, "k", "1"), put(d, "k", "1"), put(d, "l", "9")}));
  CHECK(f.content() == "main: | d[4]: k=1 k=2 l=9");
  REQUIRE(f.apply({operation(OperationKind::kDeletePair, d, "k", "1")}));
  CHECK(f.content() == "main: | d[4]: k=2 l=9");
  REQUIRE(f.apply({put(d, "k", "3"), operation(OperationKind::kDeleteKey, d, "k")}));
  CHECK(f.content() == "main: | d[4]: l=9");
}

TEST_CASE("create, clear and drop work on named databases and on main") {
  Fixture f;
  REQUIRE(f.apply({operation(OperationKind::kCreate, named("e", MDB_REVERSEKEY)),
                   put(named("n"), "a", "1"), put(main_database(), "m", "1")}));
  CHECK(f.content() == "main: m=1 | e[2]: | n: a=1");
  REQUIRE(f.apply({operation(OperationKind::kClear, named("n"))}));
  CHECK(f.content() == "main: m=1 | e[2]: | n:");
  REQUIRE(f.apply({operation(OperationKind::kDrop, named("e")), put(named("n"), "b", "2")}));
  CHECK(f.content() == "main: m=1 | n: b=2");
  REQUIRE(f.apply({operation(OperationKind::kClear, main_database())}));
  CHECK(f.content() == "main:");
  REQUIRE(f.apply({put(named("n"), "c", "3"), put(main_database(), "z", "1")}));
  CHECK(f.content() == "main: z=1 | n: c=3");
}

TEST_CASE("a named database with other flags is made anew") {
  Fixture f;
  REQUIRE(f.apply({put(named("n"), "a", "1")}));
  REQUIRE(
      f.apply({put(named("n", MDB_DUPSORT), "b", "1"), put(named("n", MDB_DUPSORT), "b", "2")}));
  CHECK(f.content() == "main: | n[4]: b=1 b=2");
  // Also within one transaction, and back.
  REQUIRE(f.apply({put(named("n"), "c", "3"), operation(OperationKind::kDrop, named("n")),
                   put(named("n", MDB_REVERSEKEY), "d", "4")}));
  CHECK(f.content() == "main: | n[2]: d=4");
}

TEST_CASE("flags of the main database are only added") {
  Fixture f;
  REQUIRE(f.apply({operation(OperationKind::kCreate, main_database(MDB_DUPSORT))}));
  REQUIRE(f.apply(
      {put(main_database(MDB_DUPSORT), "a", "1"), put(main_database(MDB_DUPSORT), "a", "2")}));
  CHECK(f.content() == "main[4]: a=1 a=2");
  // An older operation, from before the flag: one value a key.
  REQUIRE(f.apply({put(main_database(), "a", "0")}));
  CHECK(f.content() == "main[4]: a=0");
}

TEST_CASE("a main database does not become DUPSORT where a named one has been opened") {
  Fixture f;
  REQUIRE(f.apply({put(named("n"), "a", "1")}));
  REQUIRE(f.apply({operation(OperationKind::kDrop, named("n")), put(main_database(), "b", "2")}));
  const auto done = f.apply({put(main_database(MDB_DUPSORT), "b", "3")});
  CHECK(done.error().os_error() == MDB_INCOMPATIBLE);
  CHECK(f.content() == "main: b=2");
}

TEST_CASE("an item and a named database of the same name make way for each other") {
  Fixture f;
  REQUIRE(f.apply({put(main_database(), "n", "item")}));
  REQUIRE(f.apply({put(named("n"), "a", "1")}));
  CHECK(f.content() == "main: | n: a=1");
  REQUIRE(f.apply({operation(OperationKind::kDeleteKey, main_database(), "n")}));
  CHECK(f.content() == "main: | n: a=1");
  REQUIRE(f.apply({put(main_database(), "n", "item")}));
  CHECK(f.content() == "main: n=item");
}

TEST_CASE("a large value is filled from parts and a broken one refused") {
  Fixture f;
  std::string value(700'000, '\0');
  for (std::size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 7 + i / 256);
  update::Operation large = operation(OperationKind::kPutLarge, named("n"), "big");
  large.value_bytes = value.size();
  const std::string_view all = value;
  const auto part = [&](std::size_t from, std::size_t size) {
    return operation(OperationKind::kValuePart, named("n"), {}, all.substr(from, size));
  };
  REQUIRE(f.apply({large, part(0, 262'144), part(262'144, 262'144), part(524'288, 262'144)}));
  {
    auto txn = lmdb::Transaction::begin(f.environment(), true);
    const auto databases = lmdb::databases(*txn);
    auto cursor = lmdb::Cursor::open(*txn, databases->at(1).dbi);
    CHECK((*cursor->next())->value == value);
  }
  CHECK(f.apply({large, put(named("n"), "a", "1")}).error().code() == ErrorCode::kCorrupt);
  CHECK(f.apply({part(0, 10)}).error().code() == ErrorCode::kCorrupt);
  CHECK(f.content().size() < 100);
}

TEST_CASE("handles stay right after an aborted transaction") {
  Fixture f;
  REQUIRE(f.apply({put(named("n"), "a", "1")}));
  update::Operation nonsense = operation(OperationKind::kValuePart, named("n"), {}, "x");
  CHECK_FALSE(
      f.apply({operation(OperationKind::kDrop, named("n")), put(named("o"), "b", "1"), nonsense}));
  CHECK(f.content() == "main: | n: a=1");
  REQUIRE(f.apply({put(named("o", MDB_DUPSORT), "b", "1"), put(named("n"), "c", "1")}));
  CHECK(f.content() == "main: | n: a=1 c=1 | o[4]: b=1");
}

TEST_CASE("appending takes items in order, and also ones that are not") {
  Fixture f;
  const auto d = named("d", MDB_DUPSORT);
  REQUIRE(f.apply(
      {put(d, "a", "1"), put(d, "a", "2"), put(d, "a", "4"), put(d, "b", "1"), put(d, "b", "0"),
       put(d, "a", "3"), put(named("n"), "z", "1"), put(named("n"), "y", "1")},
      /*append=*/true));
  CHECK(f.content() == "main: | d[4]: a=1 a=2 a=3 a=4 b=0 b=1 | n: y=1 z=1");
}

TEST_CASE("a full map is an error that says so") {
  test::TemporaryDirectory directory;
  auto environment = open_environment(directory / "env", 256 << 10);
  lmdb::DatabaseHandles handles;
  auto txn = lmdb::Transaction::begin(environment, false);
  lmdb::OperationApplier applier(handles);
  const std::string value(100'000, 'v');
  Result<> done;
  for (int i = 0; i < 10 && done; ++i)
    done = applier.apply(*txn, put(main_database(), std::to_string(i), value));
  REQUIRE_FALSE(done);
  CHECK(done.error().code() == ErrorCode::kNoSpace);
  CHECK(done.error().os_error() == MDB_MAP_FULL);
}
