// SPDX-License-Identifier: Apache-2.0
// Rule R10: after a failed sync nothing more is promised from that segment. What was not durable
// moves to a new one, byte for byte: reading it back decides nothing, since each frame is checked
// by its hashes, and what counts is the new segment's own sync.
#include <algorithm>
#include <cerrno>
#include <limits>

#include "common/base/bytes.h"
#include "common/journal/journal.h"
#include "common/journal/scan.h"

namespace hotbackup::journal {
namespace {

constexpr UpdateNumber kAll(std::numeric_limits<std::uint64_t>::max());

}  // namespace

/// The part of a segment behind what is durable: where it begins, and what comes before it.
struct UnsyncedPart {
  std::uint64_t offset = kSegmentHeaderBytes;
  ChainHash chain;
  Epoch epoch;
};

namespace {

Result<UnsyncedPart> find_unsynced(os::File& file, const SegmentHeader& header,
                                   UpdateNumber synced) {
  UnsyncedPart part{kSegmentHeaderBytes, header.chain, header.epoch};
  FrameSequence sequence(header.group, header.first, header.chain);
  SegmentScan scan(file, kSegmentHeaderBytes);
  while (sequence.next_number() <= synced || !sequence.at_boundary()) {
    HOTBACKUP_ASSIGN(const auto frame, scan.next(sequence, kAll));
    part = {scan.offset(), sequence.chain(), frame.header.epoch};
  }
  return part;
}

/// Copies the frames of [from, to) behind the header of `copy`, each checked on the way. The last
/// one has to leave `chain`: a page that was lost shows what was there before, and that may be a
/// right successor too, of an update that was refused.
Result<> copy_frames(os::File& file, const SegmentHeader& header, std::uint64_t from,
                     std::uint64_t to, const ChainHash& chain, os::File& copy) {
  FrameSequence sequence(header.group, header.first, header.chain);
  SegmentScan scan(file, from);
  std::uint64_t at = kSegmentHeaderBytes;
  while (scan.offset() < to) {
    HOTBACKUP_ASSIGN(const auto frame, scan.next(sequence, kAll));
    HOTBACKUP_TRY(copy.write_at(at, frame.bytes));
    at += frame.bytes.size();
  }
  if (sequence.chain() == chain) return {};
  return fail(ErrorCode::kIo, "the disk shows something else than what was written");
}

}  // namespace

// Before anything is done about it: whoever notes it may die on the way to a new segment, and the
// next sync of the old one would succeed.
void Journal::note_failure(const Error& error) {
  const auto os_error = static_cast<std::uint32_t>(error.os_error() == 0 ? EIO : error.os_error());
  tail_.failure_error.store(os_error);
  tail_.failed.store(os_error);
  tail_.failures.fetch_add(1);
}

// The process that moved it died before it could do this.
Result<> Journal::blank_moved(UpdateNumber segment, UpdateNumber moved_from) {
  HOTBACKUP_ASSIGN(const auto old_file, directory_.open(segment_name(segment)));
  HOTBACKUP_ASSIGN(const auto header, read_segment_header(*old_file));
  HOTBACKUP_ASSIGN(const auto part, find_unsynced(*old_file, header, moved_from.previous()));
  return blank_from(*old_file, part.offset);
}

// Under the journal lock. The new segment is named after the first update that was not durable; a
// segment with that name (nothing of the failed one was durable) is replaced.
Result<> Journal::leave_failed_segment() {
  const UpdateNumber synced(tail_.synced.load());
  auto left = [&]() -> Result<> {
    HOTBACKUP_ASSIGN(const auto old_file, active());
    HOTBACKUP_ASSIGN(const auto old, read_segment_header(*old_file));
    HOTBACKUP_ASSIGN(const auto part, find_unsynced(*old_file, old, synced));
    const std::uint64_t moving = tail_.offset - part.offset;
    const SegmentHeader header{group_, synced.next(), part.chain, part.epoch,
                               std::max(segment_bytes_, kSegmentHeaderBytes + moving)};
    const auto fill = [&](os::File& file) {
      return copy_frames(*old_file, header, part.offset, tail_.offset, tail_.chain, file);
    };
    HOTBACKUP_ASSIGN(std::shared_ptr<os::File> file, make_segment(directory_, header, fill));
    HOTBACKUP_TRY(blank_from(*old_file, part.offset));
    switch_to(std::move(file), header.first, header.segment_bytes, kSegmentHeaderBytes + moving);
    return {};
  }();
  if (!left) {
    // Frames that cannot be read back after a failed sync are a disk's fault, not a damaged file.
    const int os_error = left.error().os_error() == 0 ? EIO : left.error().os_error();
    tail_.failed.store(static_cast<std::uint32_t>(os_error));
    const bool full = left.error().code() == ErrorCode::kNoSpace;
    return fail(full ? ErrorCode::kNoSpace : ErrorCode::kIo,
                "the journal could not be synced, and a new segment could not be begun: " +
                    left.error().text(),
                os_error);
  }
  tail_.synced.store(tail_.made.load());
  tail_.failed.store(0);
  return {};
}

Result<> Journal::go_on_after_failure() {
  return tail_.failed.load() == 0 ? Result<>() : leave_failed_segment();
}

/// A frame's place now: it may have moved since its location was noted.
struct Journal::Place {
  std::shared_ptr<os::File> file;
  std::uint64_t offset = 0;
};

Result<std::optional<Journal::Place>> Journal::find_frame(UpdateNumber number,
                                                          const FrameLocation& location) {
  HOTBACKUP_ASSIGN(const auto segments, list_segments(directory_));
  const auto after = std::upper_bound(segments.begin(), segments.end(), number);
  if (after == segments.begin()) return std::nullopt;
  // A later segment than the active one was not finished: what it holds is copied once more.
  const UpdateNumber first = std::min(*(after - 1), UpdateNumber(tail_.segment_first.load()));
  HOTBACKUP_ASSIGN(std::shared_ptr<os::File> file, directory_.open(segment_name(first)));
  if (first == location.segment_first) {
    char header[kFrameHeaderBytes];
    HOTBACKUP_ASSIGN(const auto got, file->read_at(location.offset, header, sizeof header));
    // A process that died between opening its slot and the append left no frame, and by now
    // another update may lie there.
    if (got == sizeof header && load_le<std::uint64_t>(header + 112) == location.checksum)
      return Place{std::move(file), location.offset};
  }
  HOTBACKUP_ASSIGN(const auto header, read_segment_header(*file));
  FrameSequence sequence(header.group, header.first, header.chain);
  SegmentScan scan(*file, kSegmentHeaderBytes);
  while (sequence.next_number() <= number) {
    const std::uint64_t offset = scan.offset();
    auto frame = scan.next(sequence, kAll);
    if (!frame) {
      // The journal ends before it only where it ends, and where the disk says what lies there.
      const bool made = sequence.next_number().value <= tail_.made.load();
      if (made || frame.error().code() == ErrorCode::kIo) return fail(std::move(frame).error());
      return std::nullopt;
    }
    if (frame->header.number == number && frame->header.checksum == location.checksum)
      return Place{std::move(file), offset};
  }
  return std::nullopt;
}

Result<> Journal::set_void(UpdateNumber number, const FrameLocation& location) {
  std::optional<Place> place;
  std::uint64_t active = 0;
  {
    // The lock mends what a dead owner left at the tail, and keeps the frame where it is.
    HOTBACKUP_ASSIGN(const auto append_lock, lock());
    HOTBACKUP_TRY(go_on_after_failure());
    HOTBACKUP_ASSIGN(place, find_frame(number, location));
    if (!place) return {};
    if (number.value >= tail_.segment_first.load()) active = tail_.generation.load();
    char word[8];
    store_le64(word, void_word_for(location.checksum));
    HOTBACKUP_TRY(place->file->write_at(place->offset + kVoidWordOffset, {word, sizeof word}));
  }
  auto synced = place->file->sync_data();
  // This sync covered what others have appended there, and theirs would succeed now.
  if (!synced && active == tail_.generation.load()) note_failure(synced.error());
  return synced;
}

}  // namespace hotbackup::journal
