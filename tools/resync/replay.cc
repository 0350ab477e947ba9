// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/replay.h"

#include <algorithm>

#include "common/lmdb/resident_limit.h"

namespace hotbackup::resync {
namespace {

constexpr std::size_t kBatchBytes = 8 << 20;

}  // namespace

bool Selection::takes(const update::Operation& operation) const {
  if (database &&
      (operation.database.main ? !database->empty() : operation.database.name != *database))
    return false;
  return !key || operation.key == *key;
}

Result<> Replay::frame(const journal::FrameView& frame) {
  const journal::FrameHeader& header = frame.header;
  if (header.kind == journal::FrameKind::kEnvironment) {
    HOTBACKUP_ASSIGN(const auto body, update::read_environment(frame.body));
    if (places_.contains(body.number)) return {};
    HOTBACKUP_ASSIGN(auto place, add_(body));
    if (place) places_[body.number] = std::move(*place);
    return {};
  }
  if (header.kind != journal::FrameKind::kUpdate) return {};
  if (header.part == 0) update_.clear();
  if (places_.contains(header.environment))
    update_.push_back({header.environment, std::string(frame.body)});
  if (!header.last_part) return {};
  if (!header.is_void()) {
    for (Waiting& part : update_) {
      waiting_bytes_ += part.body.size();
      waiting_.push_back(std::move(part));
    }
    ++updates_;
  }
  update_.clear();
  return waiting_bytes_ < kBatchBytes ? Result<>{} : apply_waiting();
}

Result<slave::Copy*> Replay::open(EnvironmentNumber number) {
  auto& copy = open_[number];
  if (!copy) {
    const Place& place = places_.at(number);
    HOTBACKUP_ASSIGN(copy, slave::Copy::open(place.path, place.subdirectory));
  }
  return copy.get();
}

Result<> Replay::apply_waiting() {
  for (;;) {
    auto done = apply_once();
    if (!done && done.error().os_error() == MDB_MAP_FULL) {
      HOTBACKUP_ASSIGN(slave::Copy * copy, open(full_));
      HOTBACKUP_TRY(copy->grow());
      continue;
    }
    if (!done) return done;
    waiting_.clear();
    waiting_bytes_ = 0;
    lmdb::trim_resident();
    return {};
  }
}

Result<> Replay::apply_once() {
  struct Open {
    slave::Copy* copy;
    lmdb::Transaction txn;
    lmdb::OperationApplier applier;
  };
  std::map<EnvironmentNumber, Open> open_now;
  const auto work = [&]() -> Result<> {
    for (const Waiting& part : waiting_) {
      full_ = part.environment;
      auto at = open_now.find(part.environment);
      if (at == open_now.end()) {
        HOTBACKUP_ASSIGN(slave::Copy * copy, open(part.environment));
        HOTBACKUP_ASSIGN(auto txn, copy->begin());
        at = open_now
                 .emplace(part.environment,
                          Open{copy, std::move(txn), lmdb::OperationApplier(copy->handles())})
                 .first;
      }
      Open& to = at->second;
      bool large = false;  // whether the value whose parts come is wanted
      HOTBACKUP_TRY(update::read_body(part.body, [&](const update::Operation& operation) {
        const bool continues = operation.kind == update::OperationKind::kValuePart;
        const bool wanted = continues ? large || selection_.all() : selection_.takes(operation);
        if (operation.kind == update::OperationKind::kPutLarge) large = wanted;
        // A database is made before anything is put into it.
        const bool makes =
            operation.kind == update::OperationKind::kCreate &&
            (!selection_.database || selection_.takes({.database = operation.database}));
        return wanted || makes ? to.applier.apply(to.txn, operation) : Result<>{};
      }));
    }
    for (auto& [number, one] : open_now) {
      full_ = number;
      const TxnId id = one.txn.id();
      HOTBACKUP_TRY(one.txn.commit());
      one.copy->note_commit(id);
    }
    return {};
  };
  auto done = work();
  if (done) return done;
  for (auto& [number, one] : open_now) {
    one.txn.abort();
    one.copy->handles().forget();
  }
  return done;
}

Result<> Replay::flush() {
  if (!waiting_.empty()) HOTBACKUP_TRY(apply_waiting());
  for (auto& [number, copy] : open_) {
    HOTBACKUP_TRY(copy->sync());
    HOTBACKUP_TRY(copy->give_back());
  }
  open_.clear();
  return {};
}

}  // namespace hotbackup::resync
