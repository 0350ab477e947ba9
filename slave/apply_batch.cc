// SPDX-License-Identifier: Apache-2.0
#include "slave/apply_batch.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/update/codec.h"
#include "slave/copy_watch.h"

namespace hotbackup::slave {
namespace {

// From here on an update gets its room before it is begun, and memory is watched by a thread: a
// commit of this much cannot be interrupted to look.
constexpr std::uint64_t kLargeBytes = 1 << 20;
constexpr std::uint64_t kOperationsBetweenLooks = 1024;

/// Pages are rarely less than half full; growth after MDB_MAP_FULL covers the rest.
constexpr std::uint64_t room_for(std::uint64_t update_bytes) {
  return 2 * update_bytes + kLargeBytes;
}

/// What was announced and did not happen would hide a foreign write with that number.
Result<> take_back(Copy& copy, control::EnvironmentEntry& entry, bool alone) {
  if (alone) {
    entry.applying_txnid.store(0);
    return {};
  }
  HOTBACKUP_ASSIGN(auto txn, copy.begin());
  (void)control::Group::accounts_for(entry, txn.id().previous());
  return {};
}

}  // namespace

/// `bytes`: how much the environment is about to get.
Result<ApplyBatch::Open*> ApplyBatch::open(EnvironmentNumber environment, std::uint64_t bytes) {
  const auto known = open_.find(environment);
  if (known != open_.end()) return &known->second;
  HOTBACKUP_ASSIGN(auto begun,
                   copies_.begin(environment, bytes > kLargeBytes ? room_for(bytes) : 0));
  auto& [copy, txn] = begun;
  control::EnvironmentEntry* entry = group_.environment(environment);
  HOTBACKUP_TRY(note_foreign_write(group_, *entry, TxnId(txn.id().value - 1)));
  Open open{copy, entry, std::move(txn), lmdb::OperationApplier(copy->handles())};
  return &open_.emplace(environment, std::move(open)).first->second;
}

tl::unexpected<Error> ApplyBatch::fail_in(EnvironmentNumber environment, Error error) {
  failed_ = environment;
  const auto* entry = group_.environment(environment);
  if (entry != nullptr) failure_.environment = entry->name;
  return fail(std::move(error).with_context(
      entry != nullptr ? "environment " + std::string(entry->name) : "applying"));
}

Result<ApplyBatch::Open*> ApplyBatch::perform(EnvironmentNumber environment, std::string_view body,
                                              std::uint64_t bytes) {
  if (!resident_limit_ && (bytes_ > kLargeBytes || bytes > kLargeBytes)) resident_limit_.emplace();
  auto opened = open(environment, bytes);
  if (!opened) return fail_in(environment, std::move(opened).error());
  Open& open = **opened;
  auto done = update::read_body(body, [&](const update::Operation& operation) {
    if (++operations_ % kOperationsBetweenLooks == 0) lmdb::trim_resident();
    auto applied = open.applier.apply(open.txn, operation);
    if (!applied) {
      failure_.database = operation.database.main ? "(main)" : printable(operation.database.name);
      failure_.key = printable(operation.key);
    }
    return applied;
  });
  if (!done) return fail_in(environment, std::move(done).error());
  return &open;
}

Result<> ApplyBatch::apply(const journal::FrameView& frame) {
  const journal::FrameHeader& header = frame.header;
  bytes_ += frame.bytes.size();
  HOTBACKUP_ASSIGN(const Open* open, perform(header.environment, frame.body, header.update_bytes));
  if (header.last_part && open->applier.value_open())
    return fail_in(header.environment,
                   Error(ErrorCode::kCorrupt, "a large value of the update ends early"));
  return {};
}

Result<> ApplyBatch::apply_body(EnvironmentNumber environment, std::string_view body,
                                std::uint64_t more) {
  bytes_ += body.size();
  HOTBACKUP_TRY(perform(environment, body, more));
  return {};
}

bool ApplyBatch::whole() const {
  return std::none_of(open_.begin(), open_.end(),
                      [](const auto& open) { return open.second.applier.value_open(); });
}

Result<> ApplyBatch::commit() {
  for (auto& [number, open] : open_) {
    const TxnId id = open.txn.id();
    // A program that writes its own keep-local data may begin as soon as LMDB's lock is free,
    // before the table says what this was: from there on only who holds that lock takes anything
    // back.
    const bool alone = open.copy->handles().rules().empty();
    open.entry->applying_txnid.store(id.value);
    if (auto done = open.txn.commit(); !done) {
      if (alone) open.entry->applying_txnid.store(0);
      return fail_in(number, std::move(done).error());
    }
    // Without any change LMDB commits nothing and the number stays.
    const TxnId last = open.copy->environment().info().last_txnid;
    if (last < id) {
      HOTBACKUP_TRY(take_back(*open.copy, *open.entry, alone));
      continue;
    }
    if (alone || open.entry->last_txnid.load() < id.value) open.entry->last_txnid.store(id.value);
    open.copy->note_commit(id);
  }
  const bool large = bytes_ > kLargeBytes;
  for (auto& [number, open] : open_) {
    if (!large) break;
    HOTBACKUP_TRY(open.copy->give_back());
  }
  open_.clear();
  bytes_ = 0;
  resident_limit_.reset();
  lmdb::trim_resident();
  return {};
}

void ApplyBatch::abort() {
  for (auto& [number, open] : open_) {
    open.txn.abort();
    open.copy->handles().forget();
  }
  open_.clear();
}

Result<> ApplyBatch::make_room_after_failure() {
  if (!failed_) return {};
  HOTBACKUP_ASSIGN(Copy * copy, copies_.open(*failed_));
  return copy->grow();
}

}  // namespace hotbackup::slave
