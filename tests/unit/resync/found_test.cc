// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/found.h"

#include <doctest/doctest.h>

using namespace hotbackup;
using namespace hotbackup::resync;

TEST_CASE("a target is a number, a time with its zone, a mark or the end") {
  CHECK(parse_target("end")->kind == Target::Kind::kEnd);
  CHECK(parse_target("48100")->number == 48100);
  CHECK(parse_target("mark:before the move")->mark == "before the move");
  const std::int64_t six = 1'795'240'801;  // 2026-11-21T06:00:01Z
  CHECK(parse_target("2026-11-21T06:00:01Z")->time_ns == six * 1'000'000'000);
  CHECK(parse_target("2026-11-21 07:00:01+01:00")->time_ns == six * 1'000'000'000);
  CHECK(parse_target("2026-11-21T06:00:01.250Z")->time_ns == six * 1'000'000'000 + 250'000'000);
}

TEST_CASE("a time without a zone is refused with both readings, and nonsense is refused") {
  const auto refused = parse_target("2026-11-21T06:00:01");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kConfig);
  CHECK(refused.error().text().find("2026-11-21T06:00:01.000Z if it is UTC") != std::string::npos);
  for (const char* text : {"yesterday", "12x", "mark:", "2026-13-41T00:00:00Z"})
    CHECK_FALSE(parse_target(text));
}
