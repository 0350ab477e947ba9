// SPDX-License-Identifier: Apache-2.0
#include "common/recovery/environment_recovery.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "common/journal/reader.h"
#include "common/lmdb/apply_operation.h"
#include "common/lmdb/meta.h"
#include "common/os/ownership.h"
#include "common/recovery/baseline.h"
#include "common/recovery/read_back.h"
#include "common/update/codec.h"

namespace hotbackup::recovery {
namespace {

constexpr std::chrono::milliseconds kLockTimeout{60'000};

/// An environment that is due: what the journal says, and the environment under its writer lock.
class Recovery {
 public:
  Recovery(control::Group& group, control::EnvironmentEntry& entry)
      : group_(group), entry_(entry), due_(entry.last_txnid.load()) {}

  Result<Recovered> run();

 private:
  bool is_missing() const;
  Result<Recovered> gone();
  Result<> open();
  Result<Recovered> judge(TxnId shown);
  Result<Recovered> judge_level();
  Result<Recovered> redo(std::size_t missing);
  Result<> give_up(std::size_t from);
  Result<Recovered> bypassed(Outcome outcome, TxnId shown, std::string text);
  Result<> load(UpdateNumber number);
  Result<> apply(UpdateNumber number);
  Result<> for_each_frame(UpdateNumber number,
                          const std::function<Result<>(const journal::FrameView&)>& visit);
  Result<> settle(TxnId shown);

  /// An update that a power loss may have taken from LMDB.
  struct Doubtful {
    journal::FrameHeader header;  // of its last part
    std::string last_body;
    bool has_operations = false;
  };

  control::Group& group_;
  control::EnvironmentEntry& entry_;
  const TxnId due_;  // of its last update, or of the baseline
  // The last two since the baseline, oldest first. LMDB may lack the last one that returned, since
  // its meta page was not synced, and the one that was in the journal and not committed yet.
  std::vector<Doubtful> doubtful_;
  std::optional<lmdb::Environment> environment_;
  std::optional<lmdb::Transaction> txn_;
};

Result<> Recovery::for_each_frame(UpdateNumber number,
                                  const std::function<Result<>(const journal::FrameView&)>& visit) {
  journal::Reader reader(group_.journal_directory(), group_.id());
  HOTBACKUP_TRY(reader.seek(number));
  for (bool last = false; !last;) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(number));
    if (!frame)
      return fail(ErrorCode::kGap, "update " + std::to_string(number.value) + " is not there");
    last = frame->header.last_part;
    HOTBACKUP_TRY(visit(*frame));
  }
  return {};
}

Result<> Recovery::load(UpdateNumber number) {
  if (number.value == 0) return {};
  Doubtful& update = doubtful_.emplace_back();
  return for_each_frame(number, [&](const journal::FrameView& frame) -> Result<> {
    update.header = frame.header;
    update.last_body = frame.body;
    update.has_operations |= !frame.body.empty();
    return {};
  });
}

// A data file that was made moments before a power loss may be missing: its first update makes it.
Result<> Recovery::open() {
  lmdb::OpenOptions options;
  options.path = entry_.path;
  options.subdirectory = entry_.subdirectory != 0;
  const os::Permissions permissions = group_.permissions();
  options.mode = permissions.mode;
  const bool makes_it = is_missing();
  HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
  environment_.emplace(std::move(environment));
  if (makes_it)
    for (const std::string& file : {lmdb::data_file(options.path, options.subdirectory),
                                    lmdb::lock_file(options.path, options.subdirectory)})
      os::give(file, permissions);
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(*environment_, /*read_only=*/false));
  txn_.emplace(std::move(txn));
  return {};
}

// What it shows becomes what it is due to show. The baseline is durable before the update's fate is
// published: whoever recovers again then finds the same.
Result<> Recovery::settle(TxnId shown) {
  HOTBACKUP_TRY(environment_->sync());
  const auto description = describe(entry_, environment_->get());
  UpdateNumber made;
  {
    HOTBACKUP_ASSIGN(auto lock, group_.journal().lock());
    HOTBACKUP_TRY(append_baseline(group_, entry_, lock, description, shown));
    made = group_.made();
  }
  return group_.journal().sync_through(made);
}

Result<> Recovery::apply(UpdateNumber number) {
  lmdb::DatabaseHandles handles;
  lmdb::OperationApplier applier(handles);
  for (;;) {
    auto applied = for_each_frame(number, [&](const journal::FrameView& frame) {
      return update::read_body(frame.body, [&](const update::Operation& operation) {
        return applier.apply(*txn_, operation);
      });
    });
    if (applied) return {};
    txn_.reset();
    if (applied.error().os_error() != MDB_MAP_FULL) return applied;
    handles.forget();
    applier.reset();
    HOTBACKUP_TRY(environment_->set_map_bytes(environment_->info().map_bytes * 2));
    HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(*environment_, /*read_only=*/false));
    txn_.emplace(std::move(txn));
  }
}

// An update that touched keep-local data waits for a full sync of LMDB before it returns, so nobody
// was told of it, nor of one that was made upon it.
Result<Recovered> Recovery::redo(std::size_t missing) {
  Recovered recovered;
  for (std::size_t i = doubtful_.size() - missing; i < doubtful_.size(); ++i) {
    const Doubtful& update = doubtful_[i];
    const UpdateNumber number = update.header.number;
    if (update.header.kept_local) {
      HOTBACKUP_TRY(give_up(i));
      if (recovered.update.value == 0)
        recovered = {Outcome::kVoided, number,
                     "update " + std::to_string(number.value) +
                         " touched keep-local data and had not been committed"};
      break;
    }
    // Slaves may have it: it stays what it is, and there is nothing to do again.
    if (!update.has_operations) {
      recovered.text += (recovered.text.empty() ? "update " : "; update ") +
                        std::to_string(number.value) + " was missing and changed nothing";
      continue;
    }
    if (!txn_) {
      HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(*environment_, /*read_only=*/false));
      txn_.emplace(std::move(txn));
    }
    HOTBACKUP_TRY(apply(number));
    HOTBACKUP_TRY(txn_->commit());
    txn_.reset();
    recovered.outcome = Outcome::kReplayed;
    recovered.text += (recovered.text.empty() ? "update " : "; update ") +
                      std::to_string(number.value) + " was missing and has been replayed";
    recovered.update = number;
  }
  txn_.reset();
  HOTBACKUP_TRY(settle(environment_->info().last_txnid));
  return recovered;
}

Result<> Recovery::give_up(std::size_t from) {
  for (std::size_t i = doubtful_.size(); i > from; --i) {
    const journal::FrameHeader& header = doubtful_[i - 1].header;
    HOTBACKUP_TRY(group_.journal().set_void(header.number, {UpdateNumber(0), 0, header.checksum}));
  }
  return {};
}

Result<Recovered> Recovery::bypassed(Outcome outcome, TxnId shown, std::string text) {
  txn_.reset();
  HOTBACKUP_TRY(
      group_.set_unlogged(entry_, "environment " + std::string(entry_.name) + ": " + text));
  HOTBACKUP_TRY(settle(shown));
  return Recovered{outcome, {}, std::move(text)};
}

Result<Recovered> Recovery::judge_level() {
  if (!doubtful_.empty()) {
    const Doubtful& last = doubtful_.back();
    HOTBACKUP_ASSIGN(const bool same, shows(*txn_, last.last_body));
    if (!same)
      return bypassed(Outcome::kUnlogged, due_,
                      "a program without capture wrote transaction " + std::to_string(due_.value) +
                          " in place of update " + std::to_string(last.header.number.value));
  }
  txn_.reset();
  HOTBACKUP_TRY(settle(due_));
  return Recovered{Outcome::kLevel, {}, "level at transaction " + std::to_string(due_.value)};
}

Result<Recovered> Recovery::judge(TxnId shown) {
  const std::string found = "its last transaction is " + std::to_string(shown.value) + ", not " +
                            std::to_string(due_.value);
  // Its frame also says so where an earlier commit had not been synced.
  if (!doubtful_.empty() && doubtful_.back().header.no_sync)
    return bypassed(Outcome::kUnlogged, shown,
                    "it was open without syncs when this machine stopped; " + found);
  if (shown == due_) return judge_level();
  if (shown > due_)
    return bypassed(Outcome::kUnlogged, shown, "it was written without capture: " + found);
  const std::uint64_t missing = due_.value - shown.value;
  if (missing > doubtful_.size())
    return bypassed(Outcome::kReplaced, shown, "an older file stands in its place: " + found);
  return redo(missing);
}

Result<Recovered> Recovery::run() {
  HOTBACKUP_TRY(load(UpdateNumber(entry_.previous_update.load())));
  HOTBACKUP_TRY(load(UpdateNumber(entry_.slot.number.load())));
  if (const bool missing = is_missing(); missing && due_.value > doubtful_.size()) return gone();
  HOTBACKUP_TRY(open());
  return judge(TxnId(txn_->id().value - 1));
}

bool Recovery::is_missing() const {
  struct stat status {};
  const std::string file = lmdb::data_file(entry_.path, entry_.subdirectory != 0);
  return ::stat(file.c_str(), &status) != 0 ? errno == ENOENT : status.st_size == 0;
}

// Nothing to recover, and nothing is made in its place: whoever makes it begins a new baseline.
Result<Recovered> Recovery::gone() {
  if (due_.value == 0) return Recovered{Outcome::kLevel, {}, "not made yet"};
  const std::string text = "its data file " + std::string(entry_.path) + " is gone";
  HOTBACKUP_TRY(
      group_.set_unlogged(entry_, "environment " + std::string(entry_.name) + ": " + text));
  entry_.baselined.store(0);
  return Recovered{Outcome::kReplaced, {}, text};
}

/// For a process that may not write: whether nothing needs to be done.
bool looks_level(const control::EnvironmentEntry& entry) {
  const auto meta = lmdb::peek_meta(lmdb::data_file(entry.path, entry.subdirectory != 0));
  return meta && meta->last_txnid.value == entry.last_txnid.load();
}

}  // namespace

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kLevel:
      return "level";
    case Outcome::kReplayed:
      return "replayed";
    case Outcome::kVoided:
      return "voided";
    case Outcome::kUnlogged:
      return "unlogged";
    case Outcome::kReplaced:
      break;
  }
  return "replaced";
}

Result<Recovered> recover(control::Group& group, control::EnvironmentEntry& entry) {
  if (entry.recovery_due.load() == 0) return Recovered{};
  HOTBACKUP_ASSIGN(const auto lock,
                   os::SharedLock::acquire(group.layout().recovery_lock, kLockTimeout));
  if (entry.recovery_due.load() == 0) return Recovered{};
  auto recovered = Recovery(group, entry).run();
  if (!recovered) {
    const int error = recovered.error().os_error();
    if (error != EACCES && error != EROFS && error != EPERM)
      return fail(
          std::move(recovered).error().with_context("environment " + std::string(entry.name)));
    if (looks_level(entry)) return Recovered{};
    return fail(ErrorCode::kBusy,
                "environment " + std::string(entry.name) + " has to be recovered first", EAGAIN);
  }
  entry.recovery_due.store(0);
  group.clear_slot(entry, UpdateNumber(entry.slot.number.load()));
  return recovered;
}

Result<> recover_all(control::Group& group, const Report& report) {
  Result<> first;
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr || entry->recovery_due.load() == 0) continue;
    const auto recovered = recover(group, *entry);
    if (recovered && report) report(*entry, *recovered);
    if (!recovered && first) first = fail(recovered.error());
  }
  return first;
}

}  // namespace hotbackup::recovery
