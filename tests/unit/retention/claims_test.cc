// SPDX-License-Identifier: Apache-2.0
#include "common/retention/claims.h"

#include <fstream>

#include "tests/unit/master/group_on_disk.h"

using namespace hotbackup;
using namespace hotbackup::retention;

namespace {

Position at(control::Group& group, std::uint64_t number) {
  return *journal::position_at(group.journal_directory(), group.id(), UpdateNumber(number));
}

}  // namespace

TEST_CASE("a slave that was never seeded has no claim, one that streams has, and it is durable") {
  test::GroupOnDisk fixture;
  control::Group& group = fixture.group();
  for (int i = 0; i < 5; ++i) fixture.append(100);
  CHECK_FALSE(claim_of(group, "lyon"));
  REQUIRE(hold(group, "lyon", at(group, 3)));
  const auto again = control::Group::open(group.directory());
  const auto claim = claim_of(**again, "lyon");
  REQUIRE(claim);
  CHECK(claim->at == at(group, 3));
  CHECK(claim->holds() == UpdateNumber(3));
  CHECK_FALSE(claim_of(group, "nantes"));
}

TEST_CASE("a forgotten slave pins nothing, and what it acknowledged last is remembered exactly") {
  test::GroupOnDisk fixture;
  control::Group& group = fixture.group();
  for (int i = 0; i < 5; ++i) fixture.append(100);
  REQUIRE(hold(group, "lyon", at(group, 2)));
  group.peer("lyon")->journaled.store(4);
  REQUIRE(forget(group, "lyon"));
  const auto claim = claim_of(group, "lyon");
  REQUIRE(claim);
  CHECK(claim->needs_seed);
  CHECK_FALSE(claim->holds());
  CHECK(claim->at == at(group, 4));
  CHECK(forget(group, "lyon").error().code() == ErrorCode::kNotFound);
  CHECK(forget(group, "nantes").error().code() == ErrorCode::kNotFound);
}

TEST_CASE("a seed under way pins what follows it, and does not hide what the old copy was") {
  test::GroupOnDisk fixture;
  control::Group& group = fixture.group();
  for (int i = 0; i < 5; ++i) fixture.append(100);
  REQUIRE(hold(group, "lyon", at(group, 2)));
  REQUIRE(forget(group, "lyon"));
  REQUIRE(hold_for_seed(group, "lyon", UpdateNumber(5)));
  auto claim = claim_of(group, "lyon");
  CHECK(claim->holds() == UpdateNumber(5));
  CHECK(claim->needs_seed);
  CHECK(claim->at == at(group, 2));
  REQUIRE(hold(group, "lyon", at(group, 5)));
  claim = claim_of(group, "lyon");
  CHECK_FALSE(claim->needs_seed);
  CHECK(claim->seed_from.value == 0);
}

TEST_CASE("a damaged record reads as everybody claiming everything, and nothing archived") {
  test::GroupOnDisk fixture;
  control::Group& group = fixture.group();
  fixture.append(100);
  REQUIRE(hold(group, "lyon", at(group, 1)));
  REQUIRE(change_record(group, [](Record& record) { record.archived = UpdateNumber(1); }));
  const std::string path = group.directory() + "/retention";
  std::string text = *os::read_file(path);
  text[text.find("lyon")] = 'L';
  std::ofstream(path) << text;
  const auto record = read_record(group);
  REQUIRE(record);
  CHECK(record->archived.value == 0);
  REQUIRE(record->find("lyon") != nullptr);
  CHECK(record->find("lyon")->holds() == UpdateNumber(0));
}
