// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/content_digest.h"

#include <doctest/doctest.h>

#include "tests/support/lmdb_content.h"
#include "tests/support/temporary_directory.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

lmdb::ContentDigest digest_of(const std::vector<update::Operation>& operations,
                              const update::KeepLocalRules& rules = {}) {
  test::TemporaryDirectory directory;
  auto environment = open_environment(directory / "env");
  lmdb::DatabaseHandles handles;
  auto txn = lmdb::Transaction::begin(environment, false);
  lmdb::OperationApplier applier(handles);
  for (const auto& one : operations) REQUIRE(applier.apply(*txn, one));
  REQUIRE(txn->commit());
  return *lmdb::digest(environment, rules);
}

}  // namespace

TEST_CASE("equal content has equal digests whatever the way there") {
  const auto one = digest_of(
      {put(main_database(), "a", "1"), put(named("n"), "x", "1"), put(named("n"), "y", "2")});
  const auto other = digest_of({put(named("n"), "y", "0"), put(named("n"), "y", "2"),
                                put(named("n"), "x", "1"), put(main_database(), "a", "1")});
  CHECK(one == other);
  REQUIRE(one.size() == 2);
  CHECK(one[0].items == 1);
  CHECK(one[1].items == 2);
}

TEST_CASE("digests see a byte, a flag, a name, a duplicate and where key and value meet") {
  const auto base = digest_of({put(named("n"), "ab", "c")});
  CHECK(base != digest_of({put(named("n"), "ab", "d")}));
  CHECK(base != digest_of({put(named("n"), "a", "bc")}));
  CHECK(base != digest_of({put(named("m"), "ab", "c")}));
  CHECK(base != digest_of({put(named("n", MDB_DUPSORT), "ab", "c")}));
  CHECK(base != digest_of({put(named("n"), "ab", "c"), put(main_database(), "ab", "c")}));
  const auto d = named("d", MDB_DUPSORT);
  CHECK(digest_of({put(d, "a", "1"), put(d, "a", "2")}) != digest_of({put(d, "a", "1")}));
}

TEST_CASE("what is kept local counts for nothing, nor a database that only holds such items") {
  const auto rules = *update::KeepLocalRules::parse({"licence", "settings:host.*"});
  const auto without = digest_of({put(named("n"), "a", "1")}, rules);
  CHECK(without == digest_of({put(named("n"), "a", "1"), put(named("licence"), "x", "1"),
                              put(named("settings"), "host.name", "paris")},
                             rules));
  CHECK(without !=
        digest_of({put(named("n"), "a", "1"), put(named("settings"), "port", "1")}, rules));
}
