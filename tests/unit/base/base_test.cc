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

TEST_CASE("a time that a person typed has a zone, or is refused with both readings") {
  const auto read = [](std::string_view text) { return iso8601(parse_time(text).value()); };
  CHECK(read("2026-11-21T06:00:01.123Z") == "2026-11-21T06:00:01.123Z");
  CHECK(read("2026-11-21 06:00Z") == "2026-11-21T06:00:00.000Z");
  CHECK(read("2026-11-21T06:00:01+01:30") == "2026-11-21T04:30:01.000Z");
  CHECK(read("2026-01-01T00:00-05:00") == "2026-01-01T05:00:00.000Z");
  const auto bare = parse_time("2026-11-21T06:00");
  REQUIRE_FALSE(bare);
  CHECK(bare.error().text().find("type 2026-11-21T06:00:00.000Z if it is UTC, or 2026-11-2") !=
        std::string::npos);
  for (const char* nonsense :
       {"", "yesterday", "2026-11-21", "2026-11-21T06:00X", "2026-02-30T06:00Z",
        "2026-11-21T25:00Z", "2026-11-21T06:00+1", "2026-11-21T06:00+01:00Z"})
    CHECK_MESSAGE(parse_time(nonsense).error().code() == ErrorCode::kConfig, nonsense);
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
