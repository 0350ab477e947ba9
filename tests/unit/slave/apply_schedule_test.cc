// SPDX-License-Identifier: Apache-2.0
#include "slave/apply_schedule.h"

#include <doctest/doctest.h>

using namespace hotbackup;
using slave::ApplySchedule;

namespace {

constexpr UpdateNumber kNone;

journal::FrameHeader committed(std::uint64_t number, int second) {
  journal::FrameHeader header;
  header.number = UpdateNumber(number);
  header.commit_time = WallTime(std::chrono::seconds(second));
  return header;
}

WallTime second(int n) {
  return WallTime(std::chrono::seconds(n));
}

}  // namespace

TEST_CASE("an update is due a delay after its commit, or as far as a person wants the copies") {
  ApplySchedule schedule(std::chrono::seconds(10));
  CHECK(schedule.due(committed(5, 100), second(110)));
  CHECK_FALSE(schedule.due(committed(6, 101), second(110)));
  CHECK(schedule.next_due() == second(111));
  schedule.decide(false, UpdateNumber(6));
  CHECK(schedule.next_due() < second(110));
  CHECK(schedule.due(committed(6, 101), second(110)));
  CHECK_FALSE(schedule.due(committed(7, 102), second(110)));
}

TEST_CASE("a clock that was far ahead holds the copies for no longer than the delay") {
  ApplySchedule schedule(std::chrono::seconds(10));
  CHECK_FALSE(schedule.due(committed(5, 5000), second(100)));
  CHECK(schedule.next_due() == second(110));
}

TEST_CASE("paused, the copies go to the point that a person named and no further") {
  ApplySchedule schedule(std::chrono::seconds(0));
  CHECK_FALSE(schedule.paused(UpdateNumber(3)));
  schedule.decide(true, kNone);
  CHECK(schedule.paused(UpdateNumber(3)));
  CHECK(schedule.limit(UpdateNumber(3)) == UpdateNumber(3));
  schedule.decide(true, UpdateNumber(8));
  CHECK_FALSE(schedule.paused(UpdateNumber(3)));
  CHECK(schedule.limit(UpdateNumber(3)) == UpdateNumber(8));
  CHECK(schedule.paused(UpdateNumber(8)));
  CHECK(schedule.limit(UpdateNumber(9)) == UpdateNumber(9));
}
