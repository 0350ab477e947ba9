// SPDX-License-Identifier: Apache-2.0
#include "slave/applied_file.h"

#include <doctest/doctest.h>

#include "tests/support/group_fixture.h"

using namespace hotbackup;
using namespace hotbackup::slave;

TEST_CASE("the applied file reads back, and says when it is missing or damaged") {
  test::TemporaryDirectory directory;
  auto group = test::make_group(directory.path(), test::group_record(control::Role::kSlave));
  CHECK(*read_applied(*group) == std::nullopt);
  REQUIRE(write_applied(*group, {UpdateNumber(17), UpdateNumber(4113)}));
  const auto range = read_applied(*group);
  REQUIRE(range);
  REQUIRE(*range);
  CHECK((*range)->lower.value == 17);
  CHECK((*range)->upper.value == 4113);

  std::string text = *os::read_file(directory / "applied");
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    REQUIRE(os::replace_file(directory / "applied", damaged, {}));
    const auto read = read_applied(*group);
    REQUIRE_FALSE(read);
    CHECK(read.error().code() == ErrorCode::kCorrupt);
  }
}

TEST_CASE("the seeding marker keeps any path") {
  test::TemporaryDirectory directory;
  auto group = test::make_group(directory.path(), test::group_record(control::Role::kSlave));
  CHECK(*read_seeding(*group) == std::nullopt);
  const std::vector<std::string> paths{"/data/a", "/data/new\nline check 1", ""};
  REQUIRE(write_seeding(*group, paths));
  CHECK(read_seeding(*group)->value() == paths);
  REQUIRE(remove_seeding(*group));
  REQUIRE(remove_seeding(*group));
  CHECK(*read_seeding(*group) == std::nullopt);
}
