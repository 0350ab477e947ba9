// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "common/journal/journal.h"
#include "common/journal/scan.h"

namespace hotbackup::journal {
namespace {

// What a slave has received and not synced: the sender's window, and one update more.
constexpr std::uint64_t kReceivedUnsyncedMax = 16 << 20;

/// Whether this intact frame of a later update shows that the bad one was no torn end.
class Proof {
 public:
  Proof(UpdateNumber bad, std::uint64_t offset, std::optional<NodeId> rebooted)
      : bad_(bad), offset_(offset), rebooted_(rebooted) {}
  bool holds(const FrameHeader& later, std::uint64_t offset) const {
    if (later.number <= bad_) return false;
    if (!rebooted_) return true;
    if (later.epoch.node != *rebooted_)
      return offset - offset_ > kReceivedUnsyncedMax + later.update_bytes;
    return later.undurable != kUndurableMax && later.number.value - later.undurable > bad_.value;
  }

 private:
  const UpdateNumber bad_;
  const std::uint64_t offset_;
  const std::optional<NodeId> rebooted_;
};

/// Where a frame lies behind `from` that proves what is at `from` to be damage.
Result<std::optional<std::uint64_t>> find_later_frame(os::File& file, std::uint64_t from,
                                                      std::uint64_t to, const Proof& proof) {
  constexpr std::size_t kChunk = 1 << 20;
  std::string chunk(kChunk + kFrameHeaderBytes, '\0');
  for (; from < to; from += kChunk) {
    HOTBACKUP_ASSIGN(const auto got, file.read_at(from, chunk.data(), chunk.size()));
    for (std::size_t at = 0; at < kChunk && at + kFrameHeaderBytes <= got; at += 8) {
      const std::string_view candidate(chunk.data() + at, kFrameHeaderBytes);
      if (!looks_like_frame(candidate)) continue;
      const auto header = decode(candidate);
      if (header && proof.holds(*header, from + at)) return from + at;
    }
    if (got < chunk.size()) break;
  }
  return std::nullopt;
}

/// Walks the last segment to its last whole update.
Result<RecoveredTail> walk_last_segment(os::File& file, const SegmentHeader& header) {
  RecoveredTail tail;
  tail.segment_first = header.first;
  tail.segment_bytes = header.segment_bytes;
  tail.made = header.first.previous();
  tail.chain = header.chain;
  tail.epoch = header.epoch;
  tail.offset = kSegmentHeaderBytes;
  FrameSequence sequence(header.group, header.first, header.chain);
  SegmentScan scan(file, kSegmentHeaderBytes);
  constexpr UpdateNumber kAll(std::numeric_limits<std::uint64_t>::max());
  for (;;) {
    auto frame = scan.next(sequence, kAll);  // nobody writes meanwhile
    if (!frame) {
      if (frame.error().code() == ErrorCode::kIo || frame.error().code() == ErrorCode::kVersion)
        return fail(std::move(frame).error());
      tail.torn = !scan.at_blank() || !sequence.at_boundary();
      return tail;
    }
    if (!frame->header.last_part) continue;
    tail.made = frame->header.number;
    tail.chain = sequence.chain();
    tail.epoch = frame->header.epoch;
    tail.offset = scan.offset();
  }
}

/// A sync that failed earlier in this boot left pages that count as clean and are not on the disk
/// (rule R10): written once more, the next sync takes them there.
Result<> write_again(os::File& file, std::uint64_t to) {
  std::string chunk(std::size_t{1} << 20, '\0');
  for (std::uint64_t at = 0; at < to;) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), to - at));
    HOTBACKUP_ASSIGN(const auto got, file.read_at(at, chunk.data(), wanted));
    if (got == 0) break;
    HOTBACKUP_TRY(file.write_at(at, {chunk.data(), got}));
    at += got;
  }
  return {};
}

}  // namespace

Result<RecoveredTail> recover_tail(os::Directory& directory, const GroupId& group,
                                   std::optional<NodeId> rebooted) {
  HOTBACKUP_ASSIGN(auto segments, list_segments(directory));
  if (segments.empty()) {
    RecoveredTail tail;
    tail.chain = chain_before_all(group);
    return tail;
  }
  const std::string name = segment_name(segments.back());
  HOTBACKUP_ASSIGN(auto file, directory.open(name));
  auto header = read_segment_header(*file);
  if (!header) return fail(std::move(header).error().with_context("journal segment " + name));
  if (header->group != group || header->first != segments.back())
    return fail(ErrorCode::kCorrupt, "journal segment " + name + " belongs elsewhere");
  HOTBACKUP_ASSIGN(auto tail, walk_last_segment(*file, *header));
  HOTBACKUP_ASSIGN(auto later, find_later_frame(*file, tail.offset, header->segment_bytes,
                                                Proof(tail.made.next(), tail.offset, rebooted)));
  if (later)
    return fail(ErrorCode::kCorrupt, "journal segment " + name + " is damaged between byte " +
                                         std::to_string(tail.offset) + " and byte " +
                                         std::to_string(*later));
  // What a power loss may have left in the page cache only becomes durable before it is promised.
  HOTBACKUP_TRY(write_again(*file, tail.offset));
  HOTBACKUP_TRY(zero_range(*file, tail.offset, header->segment_bytes));
  for (const UpdateNumber first : segments) {
    HOTBACKUP_ASSIGN(auto segment, directory.open(segment_name(first)));
    HOTBACKUP_TRY(segment->sync_data());
  }
  HOTBACKUP_TRY(directory.sync());
  return tail;
}

}  // namespace hotbackup::journal
