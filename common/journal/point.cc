// SPDX-License-Identifier: Apache-2.0
#include "common/journal/point.h"

#include <charconv>

#include "common/journal/mark.h"
#include "common/journal/reader.h"

namespace hotbackup::journal {
namespace {

/// Commit time of the first update of a segment, or nothing where the segment has none.
Result<std::optional<WallTime>> time_of_first(Reader& reader, UpdateNumber first,
                                              UpdateNumber last) {
  if (first > last) return std::nullopt;
  HOTBACKUP_TRY(reader.seek(first));
  HOTBACKUP_ASSIGN(const auto frame, reader.next(last));
  if (!frame) return std::nullopt;
  return frame->header.commit_time;
}

/// Commit times rise with the numbers as well as one clock does: the segment in which `time` lies
/// is the last that begins before it.
Result<UpdateNumber> find_time(os::Directory& directory, const GroupId& group, WallTime time,
                               UpdateNumber last) {
  HOTBACKUP_ASSIGN(const auto segments, list_segments(directory));
  Reader reader(directory, group);
  std::optional<WallTime> oldest;
  for (std::size_t n = segments.size(); n > 0; --n) {
    HOTBACKUP_ASSIGN(const auto begins, time_of_first(reader, segments[n - 1], last));
    if (!begins) continue;
    oldest = begins;
    if (*begins > time) continue;
    UpdateNumber found = segments[n - 1];
    HOTBACKUP_TRY(reader.seek(found));
    for (;;) {
      HOTBACKUP_ASSIGN(const auto frame, reader.next(last));
      if (!frame || frame->header.commit_time > time) return found;
      found = frame->header.number;
    }
  }
  return fail(ErrorCode::kNotFound, "the journal here begins with update " +
                                        std::to_string(segments.empty() ? 0 : segments[0].value) +
                                        (oldest ? " of " + iso8601(*oldest) : ""));
}

Result<UpdateNumber> find_mark(os::Directory& directory, const GroupId& group,
                               const std::string& name, UpdateNumber last) {
  HOTBACKUP_ASSIGN(const auto segments, list_segments(directory));
  Reader reader(directory, group);
  UpdateNumber end = last;
  for (auto first = segments.rbegin(); first != segments.rend(); ++first) {
    if (*first > end) continue;
    HOTBACKUP_TRY(reader.seek(*first));
    UpdateNumber found;
    for (;;) {
      HOTBACKUP_ASSIGN(const auto frame, reader.next(end));
      if (!frame) break;
      if (frame->header.kind != FrameKind::kMark) continue;
      HOTBACKUP_ASSIGN(const auto here, mark_name(*frame));
      if (here == name) found = frame->header.number;
    }
    if (found.value != 0) return found;
    end = first->previous();
  }
  return fail(ErrorCode::kNotFound, "the journal here has no mark " + name);
}

}  // namespace

Result<Point> parse_point(std::string_view text) {
  if (text == "end") return Point{};
  if (text.starts_with("mark:") && text.size() > 5) {
    Point point{Point::Kind::kMark, {}, {}, {}};
    point.mark = text.substr(5);
    return point;
  }
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec == std::errc{} && parsed.ptr == end)
    return Point{Point::Kind::kNumber, UpdateNumber(number), {}, {}};
  const auto time = parse_time(text);
  if (!time && time.error().text().ends_with("Z"))  // no time at all
    return fail(ErrorCode::kConfig, time.error().text() + ", number, mark:NAME or end");
  if (!time) return fail(time.error());
  return Point{Point::Kind::kTime, {}, *time, {}};
}

Result<UpdateNumber> find_point(os::Directory& directory, const GroupId& group, const Point& point,
                                UpdateNumber last) {
  switch (point.kind) {
    case Point::Kind::kEnd:
      return last;
    case Point::Kind::kNumber:
      if (point.number <= last) return point.number;
      return fail(ErrorCode::kNotFound, "update " + std::to_string(point.number.value) +
                                            " is not here: the last is " +
                                            std::to_string(last.value));
    case Point::Kind::kTime:
      if (point.time > wall_now())
        return fail(ErrorCode::kNotFound, iso8601(point.time) + " has not come yet");
      return find_time(directory, group, point.time, last);
    case Point::Kind::kMark:
      return find_mark(directory, group, point.mark, last);
  }
  return fail(ErrorCode::kConfig, "no such point");
}

}  // namespace hotbackup::journal
