// SPDX-License-Identifier: Apache-2.0
#include "common/control/retention.h"

#include "common/journal/segment.h"
#include "tests/unit/master/group_on_disk.h"

using namespace hotbackup;
using namespace std::chrono_literals;

TEST_CASE("segments go when nobody needs them and they are old enough, the active one never") {
  test::GroupOnDisk fixture(64 * 1024);
  control::Group& group = fixture.group();
  for (int i = 0; i < 20; ++i) fixture.append(20'000);
  const auto segments = *journal::list_segments(group.journal_directory());
  REQUIRE(segments.size() > 4);
  REQUIRE(control::retire_segments(group, UpdateNumber(20), 1h));
  CHECK(journal::list_segments(group.journal_directory())->size() == segments.size());
  REQUIRE(control::retire_segments(group, segments[2].previous(), std::nullopt));
  CHECK(journal::list_segments(group.journal_directory())->front() == segments[2]);
  REQUIRE(control::retire_segments(group, segments[3], std::nullopt));
  CHECK(journal::list_segments(group.journal_directory())->front() == segments[3]);
  REQUIRE(control::retire_segments(group, UpdateNumber(20), std::nullopt));
  CHECK(journal::list_segments(group.journal_directory())->size() == 1);
  CHECK(fixture.append(100) == UpdateNumber(21));
}
