// SPDX-License-Identifier: Apache-2.0
#include "common/base/clock.h"

#include <cstdint>
#include <cstdio>
#include <ctime>

namespace hotbackup {

WallTime wall_now() {
  return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
}

std::string iso8601(WallTime time) {
  const auto milliseconds =
      std::chrono::floor<std::chrono::milliseconds>(time).time_since_epoch().count();
  std::time_t seconds = static_cast<std::time_t>(milliseconds / 1000);
  int fraction = static_cast<int>(milliseconds % 1000);
  if (fraction < 0) {
    fraction += 1000;
    --seconds;
  }
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[80];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                fraction);
  return text;
}

Result<WallTime> parse_time(std::string_view text) {
  const auto wrong = [&] {
    return fail(ErrorCode::kConfig,
                "\"" + std::string(text) + "\" is no time such as 2026-11-21T06:00:01Z");
  };
  std::string typed(text);
  if (typed.size() > 10 && typed[10] == ' ') typed[10] = 'T';
  std::tm parts{};
  const char* rest = ::strptime(typed.c_str(), "%Y-%m-%dT%H:%M", &parts);
  if (rest == nullptr) return wrong();
  std::chrono::nanoseconds fraction{0};
  if (*rest == ':') {
    rest = ::strptime(rest, ":%S", &parts);
    if (rest == nullptr || parts.tm_sec > 59) return wrong();
    if (*rest == '.') {
      std::int64_t unit = 100'000'000;
      for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10)
        fraction += std::chrono::nanoseconds((*rest - '0') * unit);
    }
  }
  const auto at = [&](std::time_t seconds) {
    return WallTime(std::chrono::seconds(seconds) + fraction);
  };
  std::tm as_utc = parts;
  const std::time_t utc = ::timegm(&as_utc);
  if (as_utc.tm_mday != parts.tm_mday) return wrong();  // the 30th of February
  if (std::string_view(rest) == "Z") return at(utc);
  int hours = 0;
  int minutes = 0;
  char sign = 0;
  int used = 0;
  if ((std::sscanf(rest, "%c%2d:%2d%n", &sign, &hours, &minutes, &used) == 3 ||
       std::sscanf(rest, "%c%2d%2d%n", &sign, &hours, &minutes, &used) == 3) &&
      rest[used] == '\0' && (sign == '+' || sign == '-') && hours < 24 && minutes < 60) {
    const std::time_t offset = (hours * 60 + minutes) * 60;
    return at(sign == '+' ? utc - offset : utc + offset);
  }
  if (*rest != '\0') return wrong();
  std::tm as_local = parts;
  as_local.tm_isdst = -1;
  return fail(ErrorCode::kConfig, "\"" + typed + "\" has no zone: type " + iso8601(at(utc)) +
                                      " if it is UTC, or " + iso8601(at(::mktime(&as_local))) +
                                      " if it is this machine's local time");
}

std::string human_duration(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  char text[40];
  if (seconds < 10)
    std::snprintf(text, sizeof text, "%.1f s", seconds);
  else if (seconds < 120)
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  else if (seconds < 7200)
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  else
    std::snprintf(text, sizeof text, "%.1f h", seconds / 3600);
  return text;
}

std::string human_count(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string human_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  char text[40];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace hotbackup
