// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/history.h"

#include <doctest/doctest.h>

using namespace hotbackup;
using namespace hotbackup::resync;

namespace {

Found save(std::uint64_t number) {
  Found one;
  one.path = "save-" + std::to_string(number);
  one.head = Json{{"group", "dns"},
                  {"group_id", "1"},
                  {"number", number},
                  {"time_ns", static_cast<std::int64_t>(number) * 10}};
  return one;
}

Found volume(std::uint64_t first, std::uint64_t last, Json marks = Json::array()) {
  Found one;
  one.path = "volume-" + std::to_string(first);
  one.volume = true;
  one.head = Json{{"group", "dns"}, {"group_id", "1"}, {"first", first}};
  one.end = Json{{"last", last},
                 {"time_ns", static_cast<std::int64_t>(last) * 10},
                 {"marks", std::move(marks)}};
  return one;
}

Target number(std::uint64_t n) {
  Target target;
  target.kind = Target::Kind::kNumber;
  target.number = n;
  target.text = std::to_string(n);
  return target;
}

}  // namespace

TEST_CASE("the newest save before the target and the volumes behind it are chosen") {
  const std::vector<Found> found{save(10), save(20), volume(5, 15), volume(16, 30), volume(31, 40)};
  const auto choice = choose_chains(found, "1", number(25));
  REQUIRE(choice);
  CHECK(choice->chains[0].save->number() == 20);
  REQUIRE(!choice->chains[0].volumes.empty());
  CHECK(choice->chains[0].volumes[0]->first() == 16);
  // The next best: an older save with more volumes.
  REQUIRE(choice->chains.size() == 2);
  CHECK(choice->chains[1].save->number() == 10);
  CHECK(choice->chains[1].last == 40);
}

TEST_CASE("a target outside of the history is refused and the range is named") {
  const std::vector<Found> found{save(10), volume(11, 15), volume(17, 20)};
  for (const std::uint64_t target : {9, 16, 18, 99}) {
    const auto refused = choose_chains(found, "1", number(target));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text().find("10 … 15") != std::string::npos);
  }
  CHECK(choose_chains(found, "1", number(15)));
}

TEST_CASE("at the end a missing volume is named") {
  const std::vector<Found> found{save(10), volume(11, 15), volume(17, 20)};
  const auto choice = choose_chains(found, "1", Target{});
  REQUIRE(choice);
  CHECK(choice->chains[0].last == 15);
  REQUIRE(choice->notes.size() == 1);
  CHECK(choice->notes[0].find("16 … 16") != std::string::npos);
}

TEST_CASE("a mark is a number that a volume knows") {
  const std::vector<Found> found{
      save(10), volume(11, 15, Json::array({Json{{"name", "here"}, {"number", 13}}}))};
  Target target;
  target.kind = Target::Kind::kMark;
  target.mark = "here";
  CHECK(choose_chains(found, "1", target)->target.number == 13);
  target.mark = "there";
  CHECK_FALSE(choose_chains(found, "1", target));
}
