// SPDX-License-Identifier: Apache-2.0
#include "common/journal/scan.h"

#include <algorithm>

namespace hotbackup::journal {
namespace {

constexpr std::size_t kChunkMin = 8192;
constexpr std::size_t kChunkMax = 1 << 20;

}  // namespace

Result<std::string_view> SegmentScan::bytes(std::size_t size) {
  const bool buffered =
      offset_ >= buffer_offset_ && offset_ + size <= buffer_offset_ + buffer_.size();
  if (!buffered) {
    const std::size_t wanted = std::max(size, chunk_);
    buffer_.resize(wanted);
    buffer_offset_ = offset_;
    buffer_decided_ = decided_;
    auto got = file_.read_at(offset_, buffer_.data(), wanted);
    buffer_.resize(got ? *got : 0);
    if (!got) return fail(std::move(got).error());
    chunk_ = std::min(chunk_ * 2, kChunkMax);
    if (buffer_.size() < size) {
      blank_ = true;
      return fail(ErrorCode::kNotFound, "the segment ends here");
    }
  }
  return std::string_view(buffer_).substr(offset_ - buffer_offset_, size);
}

Result<FrameHeader> SegmentScan::header_of(std::string_view head) {
  auto header = decode(head);
  if (!header) blank_ = std::all_of(head.begin(), head.end(), [](char c) { return c == '\0'; });
  return header;
}

Result<FrameView> SegmentScan::read_frame() {
  blank_ = false;
  HOTBACKUP_ASSIGN(const auto head, bytes(kFrameHeaderBytes));
  HOTBACKUP_ASSIGN(const auto first, header_of(head));
  HOTBACKUP_ASSIGN(const auto whole, bytes(frame_bytes(first.body_bytes)));
  // The header was perhaps read once more with its body: a segment that is left is blanked.
  HOTBACKUP_ASSIGN(const auto header, header_of(whole.substr(0, kFrameHeaderBytes)));
  if (header.body_bytes != first.body_bytes)
    return fail(ErrorCode::kCorrupt, "the frame here was replaced while it was read");
  return FrameView{header, whole.substr(kFrameHeaderBytes, header.body_bytes), whole};
}

Result<FrameView> SegmentScan::next(FrameSequence& sequence, UpdateNumber decided) {
  decided_ = decided;
  for (const bool fresh : {false, true}) {
    if (fresh) {
      buffer_.clear();
      chunk_ = kChunkMin;
    }
    auto frame = read_frame();
    if (!fresh && frame && frame->header.number > buffer_decided_) continue;
    if (frame) {
      const UpdateNumber expected = sequence.next_number();
      if (auto accepted = sequence.accept(*frame); accepted) {
        offset_ += frame->bytes.size();
        return frame;
      } else if (fresh) {
        blank_ = frame->header.number < expected;
        return fail(std::move(accepted).error());
      }
    } else if (fresh) {
      return frame;
    }
  }
  return fail(ErrorCode::kCorrupt, "unreachable");
}

}  // namespace hotbackup::journal
