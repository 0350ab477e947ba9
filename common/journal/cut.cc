// SPDX-License-Identifier: Apache-2.0
// Taking a journal back to an earlier update, when what follows it in there turned out not to be
// the group's history. docs/decisions/0031-rejoin.md.
#include <algorithm>

#include "common/journal/journal.h"
#include "common/journal/scan.h"

namespace hotbackup::journal {
namespace {

/// Where the update after `at` begins in this segment; kDiverged when it is another history.
Result<std::uint64_t> find_end(os::File& file, const SegmentHeader& header, const Position& at) {
  FrameSequence sequence(header.group, header.first, header.chain);
  SegmentScan scan(file, kSegmentHeaderBytes);
  while (sequence.next_number() <= at.number) HOTBACKUP_TRY(scan.next(sequence, at.number));
  if (sequence.chain() != at.chain)
    return fail(ErrorCode::kDiverged,
                "the journal has another history at update " + std::to_string(at.number.value));
  return scan.offset();
}

Result<> copy_range(os::File& from, os::File& to, std::uint64_t begin, std::uint64_t end) {
  std::string chunk(1 << 20, '\0');
  while (begin < end) {
    const std::size_t wanted = std::min<std::uint64_t>(chunk.size(), end - begin);
    HOTBACKUP_ASSIGN(const auto got, from.read_at(begin, chunk.data(), wanted));
    if (got == 0) return fail(ErrorCode::kCorrupt, "a journal segment is cut short");
    HOTBACKUP_TRY(to.write_at(begin, std::string_view(chunk).substr(0, got)));
    begin += got;
  }
  return {};
}

}  // namespace

// At every moment the files are a history without a hole that reaches at least to `at`, and the
// tail in memory says no more than they hold: so it can be cut short and done again. Segments go
// newest first, each durably; the one that stays in part is replaced whole. Spares go too: what
// was cut is a right successor of `at` wherever it still lies.
Result<> Journal::cut_after(os::SharedLock& lock, const Position& at) {
  (void)lock;
  if (tail_.made.load() < at.number.value)
    return fail(ErrorCode::kGap,
                "the journal ends before update " + std::to_string(at.number.value));
  HOTBACKUP_ASSIGN(auto segments, list_segments(directory_));
  const auto after = std::upper_bound(segments.begin(), segments.end(), at.number.next());
  if (after == segments.begin())
    return fail(ErrorCode::kGap,
                "the journal begins after update " + std::to_string(at.number.next().value));
  const UpdateNumber first = *(after - 1);
  HOTBACKUP_ASSIGN(std::shared_ptr<os::File> old, directory_.open(segment_name(first)));
  HOTBACKUP_ASSIGN(SegmentHeader header, read_segment_header(*old));
  HOTBACKUP_ASSIGN(const std::uint64_t end, find_end(*old, header, at));
  partial_bytes_ = 0;
  tail_.chain = at.chain;
  tail_.epoch = at.epoch;
  tail_.made.store(at.number.value);
  tail_.synced.store(at.number.value);
  switch_to(old, first, end, end);  // full: whoever appends makes a segment of its own
  for (auto later = segments.end(); later != after;) {
    HOTBACKUP_TRY(directory_.remove(segment_name(*--later)));
    HOTBACKUP_TRY(directory_.sync());
  }
  HOTBACKUP_TRY(remove_spares(directory_, 0));
  header.segment_bytes = std::max(segment_bytes_, end);
  auto fill = [&](os::File& to) { return copy_range(*old, to, kSegmentHeaderBytes, end); };
  HOTBACKUP_ASSIGN(std::shared_ptr<os::File> file, make_segment(directory_, header, fill));
  switch_to(std::move(file), first, header.segment_bytes, end);
  return {};
}

}  // namespace hotbackup::journal
