// SPDX-License-Identifier: Apache-2.0
// Time of day (for people and commit times) and its two text forms.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace hotbackup {

/// Nanoseconds since 1970-01-01T00:00:00Z.
using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;

WallTime wall_now();
/// "2026-11-21T06:00:01.123Z": ISO 8601, UTC, milliseconds.
std::string iso8601(WallTime time);
/// A time that a person typed: "2026-11-21T06:00:01.123Z", a blank for the T, seconds and fraction
/// left out, "+01:00" for the Z. Without a zone it is refused (kConfig), showing both readings.
Result<WallTime> parse_time(std::string_view text);
/// "0.4 s", "41 s", "3 min", "2.5 h": a duration for a person.
std::string human_duration(std::chrono::nanoseconds duration);
/// "48,100": thousands separated.
std::string human_count(std::uint64_t count);
/// "12.3 MB": decimal units.
std::string human_bytes(std::uint64_t bytes);

}  // namespace hotbackup
