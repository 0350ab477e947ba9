// SPDX-License-Identifier: Apache-2.0
// What would be lost if this machine died now, counted in the control file by every program that
// commits: exposed are the updates that were returned to their callers and are not acknowledged.
// CAPTURE section 2, step 7; docs/formats/control.md.
#pragma once

#include <chrono>
#include <span>
#include <string>

#include "common/control/layout.h"

namespace hotbackup::control {

/// Counts what a limit of a kind needs, and nothing while the limit is off. Any thread of any
/// process of the group; takes no lock. Where it says so, the caller holds the journal lock.
class Exposure {
 public:
  /// Borrows the mapped control file.
  explicit Exposure(Layout& layout) : layout_(layout), state_(layout.exposure) {}

  LimitKind kind() const { return static_cast<LimitKind>(state_.kind.load()); }
  LossLimit limit() const;
  std::uint64_t acknowledged() const { return state_.acknowledged.load(); }
  /// Highest number that a caller was told of.
  std::uint64_t returned() const { return state_.returned.load(); }

  /// Puts a limit in force; `peers` are those whose acknowledgement counts. What was there before
  /// counts as exposed by updates; by bytes it has to be acknowledged first; by time it counts
  /// from now. Under the journal lock, or before anybody else sees the file.
  void set_limit(const LossLimit& limit, std::span<const std::string> peers);

  /// Takes the peers' numbers into `acknowledged`, which may also fall: a slave that lost its copy
  /// has acknowledged nothing. Wakes who waits.
  void recompute_acknowledged();

  /// Under the journal lock, before an update of `bytes` is appended.
  void note_append(std::uint64_t bytes);
  /// Bytes of all updates so far. Under the journal lock.
  std::uint64_t bytes_through() const { return state_.bytes_through.load(); }
  /// After it was appended. Under the journal lock.
  void add_bytes(std::uint64_t bytes) { state_.bytes_through.fetch_add(bytes); }

  /// What has to be acknowledged before update `number` may be returned; `bytes_through` is the sum
  /// with that update. Never more than `number`. Exact for updates, early by at most 1/64 of the
  /// limit for bytes and time.
  std::uint64_t needed(std::uint64_t number, std::uint64_t bytes_through) const;

  /// A caller is told of update `number` although `needed` may not be acknowledged yet. True when
  /// this passes the limit that was not passed before.
  bool note_returned(std::uint64_t number, std::uint64_t needed);

  /// More is exposed now than the limit allows.
  bool passed() const;
  /// With at_limit = refuse: an update as small as can be would be refused now.
  bool refuses() const;
  /// A commit waits for an acknowledgement, or did within the last second.
  bool somebody_waits() const;
  void note_waiting();
  /// True no more than once a second.
  bool note_refused();

 private:
  std::uint64_t mark_count() const { return state_.mark_count.load(std::memory_order_acquire); }
  ExposureMark& mark(std::uint64_t index) const { return state_.marks[index % kExposureMarks]; }
  void place_mark(std::uint64_t number, std::int64_t now);
  template <class Reached>
  std::uint64_t oldest_mark(Reached reached, std::uint64_t otherwise) const;
  std::uint64_t needed_by_bytes(std::uint64_t bytes_through, std::uint64_t otherwise) const;
  std::uint64_t needed_by_time(std::uint64_t otherwise) const;
  std::uint64_t count_acknowledged() const;

  Layout& layout_;
  ExposureState& state_;
};

/// "100 updates", "0", "1.0 MB", "10 s", "off": a limit for a person.
std::string describe(const LossLimit& limit);
/// "alarm", "wait", "refuse".
std::string_view at_limit_name(AtLimit at_limit);

}  // namespace hotbackup::control
