// SPDX-License-Identifier: Apache-2.0
#include "common/journal/pending_update.h"

#include "common/base/bytes.h"
#include "common/journal/segment.h"
#include "common/journal/spills.h"

namespace hotbackup::journal {
namespace {

constexpr std::size_t kBodyBytesOffset = 8;
constexpr std::size_t kBodyHashOffset = 88;

}  // namespace

PendingUpdate::~PendingUpdate() {
  clear();
}

std::string& PendingUpdate::body() {
  if (!open_) {
    frame_start_ = buffer_.size();
    buffer_.append(kFrameHeaderBytes, '\0');
    open_ = true;
  }
  return buffer_;
}

Result<> PendingUpdate::close_body() {
  if (!open_) return {};
  open_ = false;
  const std::size_t size = buffer_.size() - frame_start_ - kFrameHeaderBytes;
  char* header = buffer_.data() + frame_start_;
  store_le(header + kBodyBytesOffset, static_cast<std::uint32_t>(size));
  store_le(header + kBodyHashOffset, hash64({header + kFrameHeaderBytes, size}));
  buffer_.resize(frame_start_ + frame_bytes(size), '\0');
  if (buffer_.size() > memory_bytes_max_) return spill_buffer();
  return {};
}

Result<> PendingUpdate::prepare() {
  if (empty()) (void)body();
  HOTBACKUP_TRY(close_body());
  if (!spill_) return {};
  HOTBACKUP_TRY(spill_buffer());
  return spill_->sync_data();
}

Result<> PendingUpdate::spill_buffer() {
  if (!spill_) {
    std::string name = next_spill_name();
    (void)directory_.remove(name);  // of a dead process that had our pid
    HOTBACKUP_ASSIGN(spill_, directory_.create(name));
    spill_name_ = std::move(name);
  }
  HOTBACKUP_TRY(spill_->write_at(kSegmentHeaderBytes + spilled_bytes_, buffer_));
  spilled_bytes_ += buffer_.size();
  buffer_.clear();
  return {};
}

Result<std::uint64_t> PendingUpdate::mark() {
  HOTBACKUP_TRY(close_body());
  return total_bytes();
}

Result<> PendingUpdate::rewind(std::uint64_t mark) {
  open_ = false;
  if (mark >= spilled_bytes_) {
    buffer_.resize(mark - spilled_bytes_);
  } else {
    buffer_.clear();
    spilled_bytes_ = mark;
  }
  return {};
}

void PendingUpdate::clear() {
  open_ = false;
  buffer_.clear();
  if (buffer_.capacity() > memory_bytes_max_) buffer_.shrink_to_fit();
  spilled_bytes_ = 0;
  if (spill_) {
    spill_.reset();
    (void)directory_.remove(spill_name_);
    spill_name_.clear();
  }
}

}  // namespace hotbackup::journal
