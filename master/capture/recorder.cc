// SPDX-License-Identifier: Apache-2.0
#include "master/capture/recorder.h"

#include <algorithm>

#include "master/capture/codes.h"

namespace hotbackup::capture {

Recorder::Recorder(os::Directory* journal_directory) {
  if (journal_directory != nullptr) pending_.emplace(*journal_directory);
  levels_.reserve(16);
}

bool Recorder::contains(MDB_txn* txn) const {
  if (txn == top()) return true;
  const std::lock_guard guard(levels_mutex_);
  return std::any_of(levels_.begin(), levels_.end(),
                     [txn](const Level& level) { return level.txn == txn; });
}

bool Recorder::may_contain(MDB_txn* txn) const {
  if (txn == top()) return true;
  const std::unique_lock guard(levels_mutex_, std::try_to_lock);
  if (!guard) return true;
  return std::any_of(levels_.begin(), levels_.end(),
                     [txn](const Level& level) { return level.txn == txn; });
}

bool Recorder::is_nested(MDB_txn* txn) const {
  return levels_.front().txn != txn;
}

std::size_t Recorder::index_of(MDB_txn* txn) const {
  std::size_t i = levels_.size() - 1;
  while (i > 0 && levels_[i].txn != txn) --i;
  return i;
}

void Recorder::begin(MDB_txn* txn, int refusal) {
  clear();
  refusal_ = refusal;
  const std::lock_guard guard(levels_mutex_);
  levels_.push_back({txn});
  top_.store(txn, std::memory_order_release);
}

void Recorder::begin_nested(MDB_txn* txn) {
  const std::lock_guard guard(levels_mutex_);
  levels_.push_back({txn});
  top_.store(txn, std::memory_order_release);
}

void Recorder::poison(int code) {
  if (poisoned_ != 0) return;
  poisoned_ = code;
  refusal_ = code;
}

// A value reserved by a parent belongs to the parent although it is stored only now, so the marks
// of children that have written nothing yet come after it.
void Recorder::before_write() {
  flush_reserved();
  for (std::size_t i = 1; i < levels_.size(); ++i) {
    Level& level = levels_[i];
    if (level.marked) continue;
    auto mark = pending_->mark();
    if (writer_) writer_->start_body();
    if (!mark) return poison(code_of(mark.error()));
    level.mark = *mark;
    level.marked = true;
  }
}

void Recorder::add(const update::Operation& operation) {
  if (poisoned_ != 0) return;
  std::string& body = pending_->body();
  if (!writer_) writer_.emplace(body);
  writer_->add(operation);
  levels_.back().changed = true;
  if (pending_->body_bytes() >= update::kBodyBytesTarget) close_body();
}

void Recorder::close_body() {
  auto closed = pending_->close_body();
  if (writer_) writer_->start_body();
  if (!closed) poison(code_of(closed.error()));
}

void Recorder::put(const update::Database& database, std::string_view key, std::string_view value) {
  if (value.size() <= update::kValuePartBytes)
    return add({update::OperationKind::kPut, database, key, value, 0});
  add({update::OperationKind::kPutLarge, database, key, {}, value.size()});
  for (std::size_t at = 0; at < value.size(); at += update::kValuePartBytes)
    add({update::OperationKind::kValuePart,
         database,
         {},
         value.substr(at, update::kValuePartBytes),
         0});
}

void Recorder::reserve(const update::Database& database, std::string_view key,
                       const MDB_val& data) {
  reserved_.emplace(Reserved{database, std::string(key), data, levels_.size() - 1});
  levels_.back().changed = true;
}

void Recorder::flush_reserved() {
  if (!reserved_) return;
  const Reserved& reserved = *reserved_;
  put(reserved.database, reserved.key,
      {static_cast<const char*>(reserved.data.mv_data), reserved.data.mv_size});
  reserved_.reset();
}

bool Recorder::may_write_named(MDB_dbi dbi) const {
  const bool dropped = std::any_of(levels_.begin(), levels_.end(),
                                   [](const Level& level) { return level.dropped_main; });
  return !dropped || std::find(created_.begin(), created_.end(), dbi) != created_.end();
}

bool Recorder::may_drop_main() const {
  return std::none_of(levels_.begin(), levels_.end(),
                      [](const Level& level) { return level.wrote_named; });
}

void Recorder::dropped_main() {
  levels_.back().dropped_main = true;
  created_.clear();
}

void Recorder::created(MDB_dbi dbi) {
  created_.push_back(dbi);
}

void Recorder::prepare_nested_commit(MDB_txn* txn) {
  if (reserved_ && reserved_->level >= index_of(txn)) flush_reserved();
}

// LMDB ends the children of a transaction with it, so all levels from `txn` on go.
void Recorder::end_nested(MDB_txn* txn, bool committed) {
  const std::size_t index = index_of(txn);
  Level ended = levels_[index];
  for (std::size_t i = index + 1; i < levels_.size(); ++i) {
    ended.changed |= levels_[i].changed;
    ended.touched |= levels_[i].touched;
    ended.kept |= levels_[i].kept;
    ended.wrote_named |= levels_[i].wrote_named;
    ended.dropped_main |= levels_[i].dropped_main;
  }
  {
    const std::lock_guard guard(levels_mutex_);
    levels_.resize(index);
    top_.store(levels_.back().txn, std::memory_order_release);
  }
  if (committed) {
    Level& parent = levels_.back();
    parent.changed |= ended.changed;
    parent.touched |= ended.touched;
    parent.kept |= ended.kept;
    parent.wrote_named |= ended.wrote_named;
    parent.dropped_main |= ended.dropped_main;
    return;
  }
  if (reserved_ && reserved_->level >= index) reserved_.reset();
  if (!ended.marked) return;
  if (writer_) writer_->start_body();
  if (auto rewound = pending_->rewind(ended.mark); !rewound) poison(code_of(rewound.error()));
}

int Recorder::finish() {
  flush_reserved();
  if (pending_ && poisoned_ == 0) close_body();
  const std::lock_guard guard(levels_mutex_);
  for (std::size_t i = levels_.size() - 1; i > 0; --i) {
    levels_[i - 1].changed |= levels_[i].changed;
    levels_[i - 1].touched |= levels_[i].touched;
    levels_[i - 1].kept |= levels_[i].kept;
  }
  levels_.resize(1);
  return poisoned_;
}

void Recorder::clear() {
  reserved_.reset();
  created_.clear();
  if (pending_) pending_->clear();
  if (writer_) writer_->start_body();
  refusal_ = 0;
  poisoned_ = 0;
  const std::lock_guard guard(levels_mutex_);
  levels_.clear();
  top_.store(nullptr, std::memory_order_release);
}

}  // namespace hotbackup::capture
