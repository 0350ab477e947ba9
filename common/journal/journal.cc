// SPDX-License-Identifier: Apache-2.0
#include "common/journal/journal.h"

#include <algorithm>

#include "common/base/bytes.h"

namespace hotbackup::journal {
namespace {

// Long enough for a 2 GB update on a slow disk; a holder that needs longer is a fault.
constexpr std::chrono::milliseconds kLockTimeout{60'000};

void raise_to(std::atomic<std::uint64_t>& number, std::uint64_t to) {
  std::uint64_t seen = number.load();
  while (seen < to && !number.compare_exchange_weak(seen, to)) {
  }
}

/// Completes the header of the frame at `header` from the shared fields and its own body size and
/// hash, and returns the number of bytes of the whole frame.
std::size_t complete_header(FrameHeader& fields, char* header) {
  fields.body_bytes = load_le<std::uint32_t>(header + 8);
  fields.body_hash = load_le<std::uint64_t>(header + 88);
  encode(fields, header);
  fields.chain = chain_after({header, kFrameHeaderBytes});
  ++fields.part;
  return frame_bytes(fields.body_bytes);
}

}  // namespace

/// What completing an update's headers yields.
struct Journal::Completed {
  std::uint64_t last_frame = 0;  // offset of the last frame from the update's start
  std::uint64_t checksum = 0;    // of that frame's header
};

Result<os::SharedLock> Journal::lock() {
  HOTBACKUP_ASSIGN(auto lock, os::SharedLock::acquire(tail_.append_lock, kLockTimeout));
  if (!lock.owner_died() || tail_.segment_first.load() == 0) return lock;
  if (auto mended = mend_tail(); !mended) {
    // The next one to come does not hear of the death: nothing is appended behind a doubtful end.
    tail_.failed.store(EIO);
    return fail(std::move(mended).error().with_context("after a process died in an append"));
  }
  return lock;
}

// Whoever died may have done so between any two steps of an append, so nothing of the tail but the
// files is believed: an update that lies there whole counts as made (its slot says what becomes of
// it), a part of one is cut.
Result<> Journal::mend_tail() {
  HOTBACKUP_ASSIGN(const RecoveredTail found, recover_tail(directory_, group_));
  if (found.made.value < tail_.made.load())
    return fail(ErrorCode::kCorrupt, "the journal ends at update " +
                                         std::to_string(found.made.value) + ", not " +
                                         std::to_string(tail_.made.load()));
  if (found.made.value == tail_.made.load() && found.chain != tail_.chain)
    return fail(ErrorCode::kIo, "the disk shows another update " +
                                    std::to_string(found.made.value) + " than was written");
  const bool failed = tail_.failed.load() != 0;
  const bool moved = found.segment_first.value != tail_.segment_first.load();
  if (failed && moved)
    HOTBACKUP_TRY(blank_moved(UpdateNumber(tail_.segment_first.load()), found.segment_first));
  const std::lock_guard guard(file_mutex_);
  active_.reset();
  tail_.segment_first.store(found.segment_first.value);
  tail_.segment_bytes = found.segment_bytes;
  tail_.offset = found.offset;
  tail_.chain = found.chain;
  tail_.epoch = found.epoch;
  tail_.generation.fetch_add(1);
  raise_to(tail_.made, found.made.value);
  // After a failed sync no later one of that segment proves anything (rule R10): whoever comes next
  // leaves it. A segment that came after it was synced before it got its name.
  if (failed && !moved) return {};
  raise_to(tail_.synced, found.made.value);
  tail_.failed.store(0);
  return {};
}

Result<std::shared_ptr<os::File>> Journal::active() {
  const std::lock_guard guard(file_mutex_);
  for (;;) {
    const std::uint64_t generation = tail_.generation.load();
    if (active_ && active_generation_ == generation) return active_;
    const UpdateNumber first(tail_.segment_first.load());
    if (first.value == 0) return fail(ErrorCode::kNotFound, "the journal has no segment yet");
    auto file = directory_.open(segment_name(first));
    if (tail_.generation.load() != generation) continue;
    if (!file) return fail(std::move(file).error());
    active_ = std::move(*file);
    active_generation_ = generation;
    return active_;
  }
}

void Journal::switch_to(std::shared_ptr<os::File> file, UpdateNumber first,
                        std::uint64_t segment_bytes, std::uint64_t offset) {
  const std::lock_guard guard(file_mutex_);
  tail_.segment_first.store(first.value);
  tail_.segment_bytes = segment_bytes;
  tail_.offset = offset;
  active_generation_ = tail_.generation.fetch_add(1) + 1;
  active_ = std::move(file);
}

// All that lies in the old segment is durable before anything can follow it elsewhere: so whoever
// syncs the active segment has synced everything. What a failed append left behind its end would be
// taken for the update that follows.
Result<> Journal::end_active_segment() {
  const std::uint64_t made = tail_.made.load();
  if (tail_.segment_first.load() == 0) return {};
  HOTBACKUP_ASSIGN(auto file, active());
  if (tail_.synced.load() < made) {
    if (auto synced = file->sync_data(); !synced) {
      note_failure(synced.error());
      return leave_failed_segment();
    }
    raise_to(tail_.synced, made);
  }
  if (tail_.offset + kFrameHeaderBytes > tail_.segment_bytes) return {};
  return blank_from(*file, tail_.offset);
}

Result<> Journal::make_room(std::uint64_t needed_bytes) {
  const bool has_segment = tail_.segment_first.load() != 0;
  if (has_segment && tail_.offset + needed_bytes <= tail_.segment_bytes) return {};
  HOTBACKUP_TRY(end_active_segment());
  SegmentHeader header;
  header.group = group_;
  header.first = UpdateNumber(tail_.made.load()).next();
  header.chain = tail_.chain;
  header.epoch = tail_.epoch;
  header.segment_bytes = std::max(segment_bytes_, kSegmentHeaderBytes + needed_bytes);
  auto file = make_segment(directory_, header);
  if (!file) return leave_unfinished(header.first, std::move(file).error());
  switch_to(std::move(*file), header.first, header.segment_bytes, kSegmentHeaderBytes);
  return {};
}

// A segment that has its name while its directory could not be synced: after a power loss it may be
// there, or not. So nothing more is appended before one has taken its place.
tl::unexpected<Error> Journal::leave_unfinished(UpdateNumber first, Error error) {
  if (directory_.open(segment_name(first))) note_failure(error);
  return fail(std::move(error));
}

Journal::Completed Journal::complete_in_memory(PendingUpdate& update, FrameHeader& fields) const {
  Completed completed;
  std::string& frames = update.buffer_;
  for (std::size_t at = 0; at < frames.size();) {
    const auto body_bytes = load_le<std::uint32_t>(frames.data() + at + 8);
    fields.last_part = at + frame_bytes(body_bytes) == frames.size();
    completed.last_frame = at;
    at += complete_header(fields, frames.data() + at);
  }
  completed.checksum = fields.checksum;
  return completed;
}

Result<Journal::Completed> Journal::complete_spilled(PendingUpdate& update,
                                                     FrameHeader& fields) const {
  Completed completed;
  char header[kFrameHeaderBytes];
  for (std::uint64_t at = 0; at < update.spilled_bytes_;) {
    const std::uint64_t offset = kSegmentHeaderBytes + at;
    HOTBACKUP_TRY(update.spill_->read_at(offset, header, sizeof header));
    const auto body_bytes = load_le<std::uint32_t>(header + 8);
    fields.last_part = at + frame_bytes(body_bytes) == update.spilled_bytes_;
    completed.last_frame = at;
    at += complete_header(fields, header);
    HOTBACKUP_TRY(update.spill_->write_at(offset, {header, sizeof header}));
  }
  completed.checksum = fields.checksum;
  return completed;
}

Result<Appended> Journal::append(os::SharedLock& lock, PendingUpdate& update, FrameHeader fields,
                                 const Announce& announce) {
  (void)lock;  // proof that the caller holds it
  HOTBACKUP_TRY(go_on_after_failure());
  HOTBACKUP_TRY(update.prepare());
  if (fields.kind == FrameKind::kUpdate) HOTBACKUP_TRY(check_limit(update.total_bytes()));
  fields.group = group_;
  fields.number = UpdateNumber(tail_.made.load()).next();
  fields.update_bytes = update.total_bytes();
  fields.part = 0;
  fields.void_word = 0;
  fields.undurable = static_cast<std::uint16_t>(
      std::min<std::uint64_t>(kUndurableMax, tail_.made.load() - tail_.synced.load()));
  fields.chain = tail_.chain;
  if (update.spilled()) return append_spilled(update, fields, announce);

  HOTBACKUP_TRY(make_room(fields.update_bytes));
  HOTBACKUP_ASSIGN(auto file, active());
  const Completed completed = complete_in_memory(update, fields);
  Appended appended{fields.number,
                    {UpdateNumber(tail_.segment_first.load()), tail_.offset + completed.last_frame,
                     completed.checksum}};
  if (announce) announce(appended);
  HOTBACKUP_TRY(file->write_at(tail_.offset, update.buffer_));
  tail_.offset += fields.update_bytes;
  tail_.chain = fields.chain;
  tail_.epoch = fields.epoch;
  tail_.made.store(fields.number.value);
  return appended;
}

// The spill file is laid out as a segment: it gets its headers and its name, and is full at once.
Result<Appended> Journal::append_spilled(PendingUpdate& update, FrameHeader& fields,
                                         const Announce& announce) {
  HOTBACKUP_TRY(end_active_segment());
  SegmentHeader header{group_, fields.number, tail_.chain, tail_.epoch,
                       kSegmentHeaderBytes + fields.update_bytes};
  HOTBACKUP_ASSIGN(const Completed completed, complete_spilled(update, fields));
  HOTBACKUP_TRY(update.spill_->write_at(0, encode_segment_header(header)));
  HOTBACKUP_TRY(update.spill_->sync_data());
  Appended appended{
      fields.number,
      {fields.number, kSegmentHeaderBytes + completed.last_frame, completed.checksum}};
  if (announce) announce(appended);
  auto named = directory_.rename(update.spill_name_, segment_name(fields.number));
  if (named) named = directory_.sync();
  if (!named) return leave_unfinished(fields.number, std::move(named).error());
  switch_to(std::move(update.spill_), fields.number, header.segment_bytes, header.segment_bytes);
  update.clear();
  tail_.chain = fields.chain;
  tail_.epoch = fields.epoch;
  tail_.made.store(fields.number.value);
  raise_to(tail_.synced, fields.number.value);
  return appended;
}

Result<Appended> Journal::append_control(os::SharedLock& lock, FrameKind kind,
                                         std::string_view body, FrameHeader fields) {
  PendingUpdate update(directory_);
  update.body().append(body);
  fields.kind = kind;
  return append(lock, update, fields);
}

Result<> Journal::append_received(os::SharedLock& lock, const FrameView& frame) {
  (void)lock;
  if (frame.header.number.value != tail_.made.load() + 1)
    return fail(ErrorCode::kGap, "update " + std::to_string(frame.header.number.value) +
                                     " does not follow update " +
                                     std::to_string(tail_.made.load()) + " in this journal");
  if (frame.header.part == 0) {
    HOTBACKUP_TRY(go_on_after_failure());
    partial_bytes_ = 0;
    HOTBACKUP_TRY(check_limit(frame.header.update_bytes));
    HOTBACKUP_TRY(make_room(frame.header.update_bytes));
    partial_generation_ = tail_.generation.load();
  } else if (partial_generation_ != tail_.generation.load()) {
    return fail(ErrorCode::kIo, "update " + std::to_string(frame.header.number.value) +
                                    " has to come again: the journal went on in a new segment");
  }
  HOTBACKUP_ASSIGN(auto file, active());
  HOTBACKUP_TRY(file->write_at(tail_.offset + partial_bytes_, frame.bytes));
  partial_bytes_ += frame.bytes.size();
  if (!frame.header.last_part) return {};
  tail_.offset += partial_bytes_;
  partial_bytes_ = 0;
  tail_.chain = chain_after(frame.bytes);
  tail_.epoch = frame.header.epoch;
  tail_.made.store(frame.header.number.value);
  return {};
}

Result<> Journal::sync_through(UpdateNumber number) {
  if (tail_.synced.load() >= number.value) return {};
  HOTBACKUP_ASSIGN(auto sync_lock, os::SharedLock::acquire(tail_.sync_lock, kLockTimeout));
  while (tail_.synced.load() < number.value) {
    // Read before the file is looked up: should the segment change in between, the switch has
    // synced everything through `made` already.
    const std::uint64_t made = tail_.made.load();
    const std::uint64_t generation = tail_.generation.load();
    HOTBACKUP_ASSIGN(auto file, active());
    if (tail_.failed.load() == 0) {
      auto synced = file->sync_data();
      if (synced) {
        raise_to(tail_.synced, made);
        continue;
      }
      note_failure(synced.error());
    }
    HOTBACKUP_ASSIGN(auto append_lock, lock());
    // Who appended meanwhile may have met the same failure and gone on already.
    if (tail_.generation.load() == generation) HOTBACKUP_TRY(leave_failed_segment());
  }
  return {};
}

void Journal::adopt_group(const GroupId& group) {
  group_ = group;
  tail_.chain = chain_before_all(group);
}

Result<> Journal::restart_after(os::SharedLock& lock, const Position& at) {
  (void)lock;
  HOTBACKUP_ASSIGN(auto segments, list_segments(directory_));
  for (const UpdateNumber first : segments) HOTBACKUP_TRY(directory_.remove(segment_name(first)));
  HOTBACKUP_TRY(directory_.sync());
  HOTBACKUP_TRY(prepare_spare(directory_, segment_bytes_));
  SegmentHeader header{group_, at.number.next(), at.chain, at.epoch, segment_bytes_};
  HOTBACKUP_ASSIGN(std::shared_ptr<os::File> file, make_segment(directory_, header));
  partial_bytes_ = 0;
  tail_.chain = at.chain;
  tail_.epoch = at.epoch;
  tail_.made.store(at.number.value);
  tail_.synced.store(at.number.value);
  switch_to(std::move(file), header.first, header.segment_bytes, kSegmentHeaderBytes);
  return {};
}

}  // namespace hotbackup::journal
