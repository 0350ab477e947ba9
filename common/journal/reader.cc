// SPDX-License-Identifier: Apache-2.0
#include "common/journal/reader.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace hotbackup::journal {

Result<> Reader::open_segment(UpdateNumber first) {
  HOTBACKUP_ASSIGN(auto file, directory_.open(segment_name(first), /*writable=*/false));
  auto header = read_segment_header(*file);
  if (!header) return fail(std::move(header).error().with_context(segment_name(first)));
  if (header->first != first)
    return fail(ErrorCode::kCorrupt, segment_name(first) + " holds another segment's header");
  if (header->group != group_)
    return fail(ErrorCode::kRefused, segment_name(first) + " belongs to another group");
  HOTBACKUP_ASSIGN(const auto segments, list_segments(directory_));
  const auto after = std::upper_bound(segments.begin(), segments.end(), first);
  segment_end_ = after == segments.end() ? UpdateNumber(0) : *after;
  file_ = std::move(file);
  segment_ = *header;
  scan_.emplace(*file_, kSegmentHeaderBytes);
  return {};
}

Result<> Reader::seek(UpdateNumber from) {
  HOTBACKUP_ASSIGN(auto segments, list_segments(directory_));
  const auto after = std::upper_bound(segments.begin(), segments.end(), from);
  if (after == segments.begin()) {
    return fail(ErrorCode::kGap, segments.empty() ? "the journal is empty"
                                                  : "the journal begins at update " +
                                                        std::to_string(segments.front().value));
  }
  HOTBACKUP_TRY(open_segment(*(after - 1)));
  sequence_.emplace(group_, segment_.first, segment_.chain);
  epoch_ = segment_.epoch;
  provisional_ = from == segment_.first;
  while (sequence_->next_number() < from || !sequence_->at_boundary()) {
    const bool was_boundary = sequence_->at_boundary();
    HOTBACKUP_ASSIGN(auto frame, next(from.previous()));
    if (frame) continue;
    if (!was_boundary) continue;
    return fail(ErrorCode::kNotFound,
                "the journal ends before update " + std::to_string(from.value));
  }
  return {};
}

Result<std::optional<FrameView>> Reader::next(UpdateNumber through) {
  before_.reset();
  if (sequence_->at_boundary() && sequence_->next_number() > through) return std::nullopt;
  Before before{*sequence_, epoch_};
  // After a failed sync a segment may be begun more than once under one name.
  if (std::exchange(provisional_, false)) {
    auto opened = open_segment(segment_.first);
    if (!opened && opened.error().code() == ErrorCode::kNotFound)
      return fail(ErrorCode::kGap, "segment " + segment_name(segment_.first) + " was recycled");
    if (!opened) return fail(std::move(opened).error());
  }
  // What an abandoned segment still holds behind the next one's beginning does not count.
  if (sequence_->at_boundary() && sequence_->next_number() == segment_end_)
    HOTBACKUP_TRY(open_segment(segment_end_));
  auto frame = scan_->next(*sequence_, through);
  if (!frame && sequence_->at_boundary() && frame.error().code() != ErrorCode::kIo) {
    // Not here: then in the segment named after it, or it is damaged.
    auto opened = open_segment(sequence_->next_number());
    if (opened) {
      frame = scan_->next(*sequence_, through);
    } else if (opened.error().code() != ErrorCode::kNotFound) {
      return fail(std::move(opened).error());
    } else if (scan_->at_blank()) {
      // Where a later segment is, what comes between is gone and will not come.
      HOTBACKUP_ASSIGN(const auto segments, list_segments(directory_));
      if (segments.empty() || segments.back() <= sequence_->next_number()) return std::nullopt;
      return fail(ErrorCode::kGap, "update " + std::to_string(sequence_->next_number().value) +
                                       " is gone: its segment was recycled");
    }
  }
  if (!frame) return fail(explain(std::move(frame).error()));
  epoch_ = frame->header.epoch;
  before.frame_bytes = frame->bytes.size();
  before_ = before;
  return *frame;
}

void Reader::unread() {
  HOTBACKUP_CHECK(before_);
  scan_->go_back(before_->frame_bytes);
  sequence_ = before_->sequence;
  epoch_ = before_->epoch;
  before_.reset();
}

// A recycled segment shows another header through our open descriptor.
Error Reader::explain(Error error) {
  const auto header = read_segment_header(*file_);
  if (!header || header->first != segment_.first)
    return Error(ErrorCode::kGap, "segment " + segment_name(segment_.first) + " was recycled");
  const ErrorCode code = error.code() == ErrorCode::kIo || error.code() == ErrorCode::kVersion
                             ? error.code()
                             : ErrorCode::kCorrupt;
  return Error(code,
               "journal segment " + segment_name(segment_.first) + " at byte " +
                   std::to_string(scan_->offset()) + ": " + error.text(),
               error.os_error());
}

Result<UpdateNumber> oldest_update(os::Directory& directory) {
  HOTBACKUP_ASSIGN(auto segments, list_segments(directory));
  if (segments.empty()) return fail(ErrorCode::kNotFound, "the journal is empty");
  return segments.front();
}

Result<Position> position_at(os::Directory& directory, const GroupId& group, UpdateNumber number) {
  if (number.value == 0) return Position{{}, number, chain_before_all(group)};
  Reader reader(directory, group);
  HOTBACKUP_TRY(reader.seek(number.next()));
  return reader.position();
}

}  // namespace hotbackup::journal
