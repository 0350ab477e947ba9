// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/segment_volume.h"

#include <filesystem>

#include "common/base/clock.h"
#include "common/journal/mark.h"
#include "common/journal/scan.h"
#include "common/journal/segment.h"
#include "tools/resync/save.h"

namespace hotbackup::resync {
namespace {

constexpr UpdateNumber kEverything{~std::uint64_t{0}};

Result<std::unique_ptr<os::File>> open_segment(const std::string& path) {
  const std::filesystem::path whole(path);
  const std::string parent = whole.parent_path();
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(parent.empty() ? "." : parent, {}));
  return directory->open(whole.filename(), /*writable=*/false);
}

Result<> look(Found& found) {
  HOTBACKUP_ASSIGN(auto file, open_segment(found.path));
  HOTBACKUP_ASSIGN(found.bytes, file->size());
  HOTBACKUP_ASSIGN(const auto header, journal::read_segment_header(*file));
  Position at{header.epoch, header.first.previous(), header.chain};
  Json marks = Json::array();
  std::int64_t time_ns = 0;
  journal::FrameSequence sequence(header.group, header.first, header.chain);
  journal::SegmentScan scan(*file, journal::kSegmentHeaderBytes);
  for (;;) {
    const auto frame = scan.next(sequence, kEverything);
    if (!frame && frame.error().code() == ErrorCode::kIo) return fail(frame.error());
    if (!frame) break;
    if (!frame->header.last_part) continue;
    at = {frame->header.epoch, frame->header.number, journal::chain_after(frame->bytes)};
    time_ns = frame->header.commit_time.time_since_epoch().count();
    if (const auto name = journal::mark_name(*frame))
      marks.push_back(Json{{"name", *name}, {"number", at.number.value}});
  }
  found.head = Json{{"kind", "segment"},
                    {"group_id", header.group.to_hex()},
                    {"first", header.first.value},
                    {"chain", header.chain.to_hex()},
                    {"epoch", epoch_json(header.epoch)},
                    {"time", iso8601(WallTime(std::chrono::nanoseconds(time_ns)))},
                    {"time_ns", time_ns}};
  found.end = Json{{"last", at.number.value},       {"chain", at.chain.to_hex()},
                   {"epoch", epoch_json(at.epoch)}, {"marks", std::move(marks)},
                   {"last_time_ns", time_ns},       {"time_ns", time_ns}};
  return {};
}

}  // namespace

Found look_at_segment(const std::string& path) {
  Found found;
  found.path = path;
  found.volume = true;
  found.segment = true;
  if (auto looked = look(found); !looked) found.problem = path + ": " + looked.error().text();
  return found;
}

Result<> read_segment(const Found& segment,
                      const std::function<Result<>(const journal::FrameView&)>& visit) {
  HOTBACKUP_ASSIGN(auto file, open_segment(segment.path));
  HOTBACKUP_ASSIGN(const auto header, journal::read_segment_header(*file));
  journal::FrameSequence sequence(header.group, header.first, header.chain);
  journal::SegmentScan scan(*file, journal::kSegmentHeaderBytes);
  while (sequence.next_number().value <= segment.last()) {
    HOTBACKUP_ASSIGN(const auto frame, scan.next(sequence, kEverything));
    HOTBACKUP_TRY(visit(frame));
  }
  return {};
}

}  // namespace hotbackup::resync
