// SPDX-License-Identifier: Apache-2.0
#include "common/journal/point.h"

#include <doctest/doctest.h>

#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::journal;
using test::JournalFixture;

namespace {

WallTime second(int n) {
  return WallTime(std::chrono::seconds(n));
}

/// Updates 1 … 40, committed at second 10, 20, …, in several segments.
struct History {
  History() : fixture(4096) {
    for (int n = 1; n <= 40; ++n) {
      PendingUpdate update(fixture.directory());
      update.body().append(500, 'x');
      FrameHeader fields;
      fields.commit_time = second(10 * n);
      auto lock = fixture.journal().lock();
      REQUIRE(fixture.journal().append(*lock, update, fields));
    }
    REQUIRE(list_segments(fixture.directory())->size() > 3);
  }
  Result<UpdateNumber> find(const Point& point) {
    return find_point(fixture.directory(), test::test_group(), point, UpdateNumber(40));
  }
  Result<UpdateNumber> at(WallTime time) { return find({Point::Kind::kTime, {}, time, {}}); }

  test::JournalFixture fixture;
};

}  // namespace

TEST_CASE("a point is a number, a time or the end") {
  CHECK(parse_point("end")->kind == Point::Kind::kEnd);
  CHECK(parse_point("48100")->number == UpdateNumber(48100));
  CHECK(parse_point("1970-01-01T00:00:07Z")->time == second(7));
  CHECK(parse_point("-1").error().code() == ErrorCode::kConfig);
  CHECK(parse_point("12 updates").error().code() == ErrorCode::kConfig);
}

TEST_CASE("a time is the last update that was committed by then, in whatever segment") {
  History history;
  for (int n = 1; n <= 40; ++n) {
    CHECK(history.at(second(10 * n))->value == static_cast<std::uint64_t>(n));
    CHECK(history.at(second(10 * n + 9))->value == static_cast<std::uint64_t>(n));
  }
  const auto early = history.at(second(9));
  REQUIRE_FALSE(early);
  CHECK(early.error().code() == ErrorCode::kNotFound);
  CHECK(early.error().text().find("begins with update 1 of 1970-01-01T00:00:10") !=
        std::string::npos);
  CHECK_FALSE(history.at(wall_now() + std::chrono::hours(1)));
}

TEST_CASE("a mark is the newest of its name") {
  History history;
  JournalFixture& f = history.fixture;
  const auto mark = [&](const char* name) {
    auto lock = f.journal().lock();
    return f.journal().append_control(*lock, FrameKind::kMark, name, {})->number;
  };
  const UpdateNumber first = mark("month end");
  f.append(std::string(5000, 'x'));
  const UpdateNumber second = mark("month end");
  const UpdateNumber other = mark("other");
  const auto find = [&](std::string_view text) {
    return find_point(f.directory(), test::test_group(), *parse_point(text), f.made());
  };
  CHECK(*find("mark:month end") == second);
  CHECK(*find("mark:other") == other);
  CHECK(*find_point(f.directory(), test::test_group(), *parse_point("mark:month end"), first) ==
        first);
  CHECK(find("mark:none").error().code() == ErrorCode::kNotFound);
}

TEST_CASE("a number beyond the last update is not found, the end is the last one") {
  History history;
  CHECK(history.find({Point::Kind::kNumber, UpdateNumber(40), {}, {}})->value == 40);
  CHECK_FALSE(history.find({Point::Kind::kNumber, UpdateNumber(41), {}, {}}));
  CHECK(history.find({})->value == 40);
}

TEST_CASE("a frame that a reader gives back is the next one again, across segments too") {
  History history;
  Reader reader(history.fixture.directory(), test::test_group());
  REQUIRE(reader.seek(UpdateNumber(1)));
  for (std::uint64_t n = 1; n <= 40; ++n) {
    const auto first = reader.next(UpdateNumber(40));
    REQUIRE(first);
    CHECK((*first)->header.number.value == n);
    reader.unread();
    CHECK(reader.next_number().value == n);
    CHECK(reader.at_boundary());
    const auto again = reader.next(UpdateNumber(40));
    REQUIRE(again);
    CHECK((*again)->header.number.value == n);
  }
}
