// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/found.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "common/base/clock.h"

namespace hotbackup::resync {
namespace {

Found look_at(const std::string& path) {
  Found found;
  found.path = path;
  found.volume = path.ends_with(".hbv");
  auto summary = read_summary(path);
  if (!summary) {
    found.problem = summary.error().text();
    return found;
  }
  found.volume = summary->head.kind == ContainerKind::kVolume;
  found.bytes = summary->bytes;
  found.head = std::move(summary->head.text);
  found.end = std::move(summary->end);
  return found;
}

std::int64_t seconds_of(const std::string& text, bool local) {
  struct tm parts {};
  for (const char* form : {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
                           "%Y-%m-%d %H:%M", "%Y-%m-%d"}) {
    parts = {};
    const char* end = ::strptime(text.c_str(), form, &parts);
    if (end == nullptr || (*end != '\0' && *end != '.')) continue;
    parts.tm_isdst = -1;
    return local ? ::mktime(&parts) : ::timegm(&parts);
  }
  return -1;
}

WallTime at(std::int64_t seconds) {
  return WallTime(std::chrono::seconds(seconds));
}

/// "Z", "+02:00", "-0530" at the end of a time: its offset in seconds.
std::optional<std::int64_t> zone_of(std::string& text) {
  if (text.ends_with('Z')) {
    text.pop_back();
    return 0;
  }
  const std::size_t sign = text.find_last_of("+-");
  if (sign == std::string::npos || sign < 11) return std::nullopt;
  std::string digits;
  for (const char c : text.substr(sign + 1))
    if (c != ':') digits += c;
  if (digits.size() != 4 || digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  const std::int64_t minutes = std::stoi(digits.substr(0, 2)) * 60 + std::stoi(digits.substr(2));
  const bool east = text[sign] == '+';
  text.resize(sign);
  return (east ? 60 : -60) * minutes;
}

}  // namespace

Result<std::vector<Found>> find_files(const std::vector<std::string>& from) {
  std::vector<Found> found;
  for (const std::string& path : from) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      if (!std::filesystem::exists(path, error))
        return fail(ErrorCode::kNotFound, path + " is not there");
      found.push_back(look_at(path));
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      const std::string file = entry.path();
      if (file.ends_with(".hbs") || file.ends_with(".hbv")) found.push_back(look_at(file));
    }
    if (error) return fail_errno("listing " + path, error.value());
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tuple(a.volume, a.number(), a.first(), a.time_ns(), a.path) <
           std::tuple(b.volume, b.number(), b.first(), b.time_ns(), b.path);
  });
  return found;
}

Result<std::string> choose_group(const std::vector<Found>& found, const std::string& wanted) {
  std::set<std::string> ids;
  std::set<std::string> names;
  for (const Found& one : found) {
    if (!one.problem.empty()) continue;
    names.insert(one.group());
    if (wanted.empty() || one.group() == wanted || one.group_id() == wanted)
      ids.insert(one.group_id());
  }
  if (ids.size() == 1) return *ids.begin();
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  if (ids.size() > 1)
    return fail(ErrorCode::kConfig,
                wanted.empty() || names.size() > 1
                    ? "there are several groups (" + list + "): name one with --group"
                    : "there are several groups of the name " + wanted +
                          ": name one by its id with --group");
  for (const Found& one : found)
    if (!one.problem.empty()) return fail(ErrorCode::kCorrupt, one.problem);
  return fail(ErrorCode::kNotFound,
              wanted.empty() ? "there is no save and no volume there"
                             : "there is nothing of group " + wanted + " there" +
                                   (list.empty() ? "" : ", but of " + list));
}

Result<Target> parse_target(const std::string& text) {
  Target target;
  target.text = text;
  if (text.empty() || text == "end") return target;
  if (text.starts_with("mark:")) {
    target.kind = Target::Kind::kMark;
    target.mark = text.substr(5);
    if (target.mark.empty()) return fail(ErrorCode::kConfig, "--until mark: needs a name");
    return target;
  }
  if (text.find_first_not_of("0123456789") == std::string::npos) {
    target.kind = Target::Kind::kNumber;
    target.number = std::strtoull(text.c_str(), nullptr, 10);
    return target;
  }
  std::string rest = text;
  target.kind = Target::Kind::kTime;
  const auto zone = zone_of(rest);
  const std::int64_t utc = seconds_of(rest, false);
  if (utc < 0)
    return fail(ErrorCode::kConfig,
                "'" + text + "' is no number, time (2026-11-21T06:00:01Z), mark:NAME or end");
  if (!zone) {
    const std::int64_t local = seconds_of(rest, true);
    return fail(ErrorCode::kConfig, "the time " + text + " has no zone: it is " + iso8601(at(utc)) +
                                        " if you mean UTC, " + iso8601(at(local)) +
                                        " if you mean this machine's time");
  }
  target.time_ns = (utc - *zone) * 1'000'000'000;
  if (const std::size_t dot = rest.find('.'); dot != std::string::npos) {
    std::string digits = (rest.substr(dot + 1) + "000000000").substr(0, 9);
    if (digits.find_first_not_of("0123456789") != std::string::npos)
      return fail(ErrorCode::kConfig, "'" + text + "' is no time");
    target.time_ns += std::stoll(digits);
  }
  return target;
}

}  // namespace hotbackup::resync
