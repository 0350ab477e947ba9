// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/found.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "common/journal/point.h"
#include "tools/resync/filtered.h"
#include "tools/resync/places.h"
#include "tools/resync/segment_volume.h"

namespace hotbackup::resync {
namespace {

/// A file that is no container is one that went through a filter, where FILE.info says so.
bool look_at_info(Found& found) {
  auto info = read_info(found.path);
  if (!info) {
    if (info.error().code() == ErrorCode::kNotFound) return false;
    found.problem = info.error().text();
    return true;
  }
  std::error_code error;
  found.bytes = std::filesystem::file_size(found.path, error);
  if (error || found.bytes != info->bytes) {
    found.problem = found.path + " is not as long as it was written";
    return true;
  }
  found.filtered = true;
  found.volume = info->kind == ContainerKind::kVolume;
  found.head = std::move(info->head);
  found.end = std::move(info->end);
  return true;
}

}  // namespace

Found look_at(const std::string& path) {
  if (path.ends_with(".hbj")) return look_at_segment(path);
  Found found;
  found.path = path;
  found.volume = path.ends_with(".hbv");
  if (const auto invalid = read_invalid(path))
    found.problem = path + " was marked invalid at " + invalid->value("time", "") + ": " +
                    invalid->value("text", "");
  auto summary = read_summary(path);
  if (!summary) {
    if (summary.error().code() == ErrorCode::kCorrupt && look_at_info(found)) return found;
    if (found.problem.empty()) found.problem = summary.error().text();
    return found;
  }
  found.volume = summary->head.kind == ContainerKind::kVolume;
  found.bytes = summary->bytes;
  found.head = std::move(summary->head.text);
  found.end = std::move(summary->end);
  return found;
}

Result<std::vector<Found>> find_files(const std::vector<std::string>& from, Segments segments) {
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
      if (file.ends_with(".hbs") || file.ends_with(".hbv") ||
          (segments == Segments::kTake && file.ends_with(".hbj")))
        found.push_back(look_at(file));
    }
    if (error) return fail_errno("listing " + path, error.value());
  }
  std::erase_if(found, [](const Found& one) {
    return one.segment && one.problem.empty() && one.last() < one.first();
  });
  for (Found& segment : found)
    for (const Found& one : found)
      if (segment.segment && !one.segment && one.group_id() == segment.group_id())
        segment.head["group"] = one.group();
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
    if (!one.group().empty()) names.insert(one.group());
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
  return fail(ErrorCode::kNotFound, wanted.empty()
                                        ? "there is no save and no volume there"
                                        : "there is nothing of group " + wanted + " there" +
                                              (list.empty() ? "" : ", but of " + list));
}

Result<Target> parse_target(const std::string& text) {
  Target target;
  target.text = text;
  if (text.empty()) return target;
  HOTBACKUP_ASSIGN(const auto point, journal::parse_point(text));
  switch (point.kind) {
    case journal::Point::Kind::kNumber:
      target.kind = Target::Kind::kNumber;
      break;
    case journal::Point::Kind::kTime:
      target.kind = Target::Kind::kTime;
      break;
    case journal::Point::Kind::kMark:
      target.kind = Target::Kind::kMark;
      break;
    case journal::Point::Kind::kEnd:
      break;
  }
  target.number = point.number.value;
  target.time_ns = point.time.time_since_epoch().count();
  target.mark = point.mark;
  return target;
}

}  // namespace hotbackup::resync
