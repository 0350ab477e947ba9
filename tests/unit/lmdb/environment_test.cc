// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/environment.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/lmdb/resident_limit.h"
#include "common/os/file.h"
#include "tests/support/lmdb_content.h"
#include "tests/support/temporary_directory.h"

using namespace hotbackup;
using namespace hotbackup::test;

TEST_CASE("an environment is not opened twice in one process") {
  test::TemporaryDirectory directory;
  lmdb::OpenOptions options;
  options.path = directory / "env";
  options.subdirectory = false;
  {
    auto first = lmdb::Environment::open(options);
    REQUIRE(first);
    const auto second = lmdb::Environment::open(options);
    REQUIRE_FALSE(second);
    CHECK(second.error().code() == ErrorCode::kBusy);
    lmdb::Environment moved = std::move(*first);
    CHECK_FALSE(lmdb::Environment::open(options));
  }
  CHECK(lmdb::Environment::open(options));
}

TEST_CASE("missing, blank and empty environments have no items") {
  test::TemporaryDirectory directory;
  CHECK(*lmdb::has_items(directory / "none", true) == false);
  CHECK(*lmdb::has_items(directory / "none/deeper", false) == false);
  REQUIRE(os::replace_file(directory / "blank", "", {}));
  CHECK(*lmdb::has_items(directory / "blank", false) == false);
  const std::string path = directory / "env";
  const auto with = [&](const std::vector<update::Operation>& operations) {
    {
      auto environment = open_environment(path);
      lmdb::DatabaseHandles handles;
      auto txn = lmdb::Transaction::begin(environment, false);
      lmdb::OperationApplier applier(handles);
      for (const auto& one : operations) REQUIRE(applier.apply(*txn, one));
      REQUIRE(txn->commit());
    }
    return *lmdb::has_items(path, false);
  };
  CHECK_FALSE(with({}));
  CHECK_FALSE(with({operation(update::OperationKind::kCreate, named("n"))}));
  CHECK(with({put(named("n"), "a", "1")}));
  CHECK_FALSE(with({operation(update::OperationKind::kClear, named("n"))}));
  CHECK(with({put(main_database(), "a", "1")}));
}

TEST_CASE("a file that is no environment is an error, not an empty one") {
  test::TemporaryDirectory directory;
  REQUIRE(os::replace_file(directory / "text", std::string(10'000, 'x'), {}));
  const auto holds = lmdb::has_items(directory / "text", false);
  REQUIRE_FALSE(holds);
  CHECK(holds.error().code() == ErrorCode::kCorrupt);
  CHECK(holds.error().text().find("text") != std::string::npos);
}

TEST_CASE("48-byte items and names with odd bytes are not taken for databases") {
  test::TemporaryDirectory directory;
  auto environment = open_environment(directory / "env");
  lmdb::DatabaseHandles handles;
  auto txn = lmdb::Transaction::begin(environment, false);
  lmdb::OperationApplier applier(handles);
  const std::string value(48, '\1');
  REQUIRE(applier.apply(*txn, put(main_database(), "plain", value)));
  REQUIRE(applier.apply(*txn, put(main_database(), std::string("n\0x", 3), value)));
  REQUIRE(applier.apply(*txn, put(named("n"), "a", "1")));
  REQUIRE(txn->commit());
  auto view = lmdb::Transaction::begin(environment, true);
  const auto all = lmdb::databases(*view);
  REQUIRE(all);
  REQUIRE(all->size() == 2);
  CHECK(all->at(0).items == 2);
  CHECK(all->at(1).name == "n");
}

TEST_CASE("a lock file made here belongs to the owner of the data file") {
  if (::geteuid() != 0) return;
  test::TemporaryDirectory directory;
  const std::string path = directory / "env";
  { auto environment = open_environment(path); }
  REQUIRE(::chown(path.c_str(), 12345, 12346) == 0);
  REQUIRE(::chmod(path.c_str(), 0660) == 0);
  REQUIRE(::unlink((path + "-lock").c_str()) == 0);
  CHECK(*lmdb::has_items(path, false) == false);
  struct stat status {};
  REQUIRE(::stat((path + "-lock").c_str(), &status) == 0);
  CHECK(status.st_uid == 12345);
  CHECK(status.st_gid == 12346);
  CHECK((status.st_mode & 0777) == 0660);
}

TEST_CASE("trimming drops mapped pages and loses nothing") {
  test::TemporaryDirectory directory;
  lmdb::OpenOptions options;
  options.path = directory / "env";
  options.subdirectory = false;
  options.map_bytes = 64 << 20;
  options.write_map = true;
  options.no_sync = true;
  auto environment = lmdb::Environment::open(options);
  REQUIRE(environment);
  lmdb::DatabaseHandles handles;
  {
    auto txn = lmdb::Transaction::begin(*environment, false);
    lmdb::OperationApplier applier(handles);
    for (int i = 0; i < 1000; ++i) {
      REQUIRE(applier.apply(*txn, put(main_database(), std::to_string(i),
                                      std::string(20'000, static_cast<char>('a' + i % 26)))));
      if (i % 100 == 0) lmdb::trim_resident(0);
    }
    lmdb::trim_resident(0);
    REQUIRE(txn->commit());
  }
  lmdb::trim_resident(0);
  auto txn = lmdb::Transaction::begin(*environment, true);
  auto cursor = lmdb::Cursor::open(*txn, lmdb::databases(*txn)->at(0).dbi);
  int items = 0;
  for (auto item = cursor->next(); item && *item; item = cursor->next(), ++items) {
    const int number = std::stoi(std::string((*item)->key));
    const std::string expected(20'000, static_cast<char>('a' + number % 26));
    if ((*item)->value != expected) FAIL("item " << number << " changed");
  }
  CHECK(items == 1000);
}
