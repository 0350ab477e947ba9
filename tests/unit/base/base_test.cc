// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "common/base/bytes.h"
#include "common/base/clock.h"

using namespace hotbackup;

TEST_CASE("times are UTC, ISO 8601, with milliseconds") {
  CHECK(iso8601(WallTime(std::chrono::nanoseconds(1'000'000'123'999'999))) ==
        "1970-01-12T13:46:40.123Z");
  CHECK(iso8601(WallTime(std::chrono::nanoseconds(-1))) == "1969-12-31T23:59:59.999Z");
}

TEST_CASE("hexadecimal digits come back as the bytes they were made from") {
  const std::string bytes("\x00\x7f\xff z", 5);
  CHECK(unhex(hex(bytes)) == bytes);
  CHECK_FALSE(unhex("abc"));
  CHECK_FALSE(unhex("zz"));
}

TEST_CASE("a group id that is not 32 digits is refused") {
  CHECK_FALSE(GroupId::from_hex("00ff"));
  CHECK(GroupId::from_hex("000102030405060708090a0b0c0d0e0f")->bytes[15] == 15);
}

TEST_CASE("counts, sizes and durations read well") {
  CHECK(human_count(48100) == "48,100");
  CHECK(human_count(7) == "7");
  CHECK(human_bytes(12'300'000) == "12.3 MB");
  CHECK(human_duration(std::chrono::milliseconds(400)) == "0.4 s");
  CHECK(human_duration(std::chrono::seconds(600)) == "10 min");
}
