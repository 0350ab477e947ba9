// SPDX-License-Identifier: Apache-2.0
// Taking a journal back to an earlier update.
#include <doctest/doctest.h>

#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::journal;
using test::JournalFixture;

namespace {

Position at(JournalFixture& fixture, std::uint64_t number) {
  auto position = position_at(fixture.directory(), test::test_group(), UpdateNumber(number));
  if (!position) FAIL(position.error().text());
  return *position;
}

Result<> cut(JournalFixture& fixture, const Position& to) {
  auto lock = fixture.journal().lock();
  REQUIRE(lock);
  return fixture.journal().cut_after(*lock, to);
}

std::string body(std::uint64_t number, char tag) {
  return std::string(20'000 + number * 100, tag);
}

void fill(JournalFixture& fixture, int updates, char tag) {
  for (int i = 0; i < updates; ++i) fixture.append(body(fixture.made().value + 1, tag));
}

}  // namespace

TEST_CASE("a journal that was cut goes on from there with other updates") {
  for (std::uint64_t to = 1; to <= 40; ++to) {
    CAPTURE(to);
    JournalFixture fixture(128 * 1024);
    fill(fixture, 40, 'a');
    const Position common = at(fixture, to);
    REQUIRE(cut(fixture, common));
    CHECK(fixture.made().value == to);
    CHECK(at(fixture, to).chain == common.chain);
    fill(fixture, 10, 'b');
    REQUIRE(fixture.recover());
    CHECK(fixture.made().value == to + 10);
    Reader reader(fixture.directory(), test::test_group());
    REQUIRE(reader.seek(UpdateNumber(1)));
    for (std::uint64_t n = 1; n <= to + 10; ++n) {
      const auto frame = reader.next(UpdateNumber(to + 10));
      REQUIRE(frame);
      REQUIRE(*frame);
      CHECK((*frame)->body == body(n, n <= to ? 'a' : 'b'));
    }
  }
}

TEST_CASE("a large update that has a segment of its own is cut like any other") {
  JournalFixture fixture(1 << 20);
  fill(fixture, 3, 'a');
  fixture.append(std::string(6 << 20, 'L'));
  fill(fixture, 2, 'a');
  for (const std::uint64_t to : {5, 4, 3}) {
    REQUIRE(cut(fixture, at(fixture, to)));
    CHECK(fixture.made().value == to);
    REQUIRE(fixture.recover());
    CHECK(fixture.made().value == to);
  }
  fill(fixture, 1, 'b');
  CHECK(fixture.made().value == 4);
}

TEST_CASE("a cut that was cut short by a death is done again") {
  JournalFixture fixture(128 * 1024);
  fill(fixture, 40, 'a');
  const Position common = at(fixture, 9);
  // It died when the newest segments were gone.
  auto segments = *list_segments(fixture.directory());
  REQUIRE(segments.size() > 4);
  REQUIRE(fixture.directory().remove(segment_name(segments.back())));
  REQUIRE(fixture.recover());
  REQUIRE(fixture.made() == segments.back().previous());
  REQUIRE(cut(fixture, common));
  REQUIRE(cut(fixture, common));
  REQUIRE(fixture.recover());
  CHECK(fixture.made().value == 9);
}

TEST_CASE("another history and a position that is not here are refused, and nothing is cut") {
  JournalFixture fixture;
  fill(fixture, 10, 'a');
  Position other = at(fixture, 5);
  other.chain.low ^= 1;
  CHECK(cut(fixture, other).error().code() == ErrorCode::kDiverged);
  other.number = UpdateNumber(11);
  CHECK(cut(fixture, other).error().code() == ErrorCode::kGap);
  REQUIRE(fixture.recover());
  CHECK(fixture.made().value == 10);
}
