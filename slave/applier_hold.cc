// SPDX-License-Identifier: Apache-2.0
// The applier stands still for somebody who wants all copies at one number, and puts in what a
// comparison has fetched: docs/operating/compare.md.
#include <fstream>

#include "common/os/process.h"
#include "slave/applier.h"
#include "slave/record_file.h"

namespace hotbackup::slave {

// Copies that a crash left between two states show none until the first batch is through.
bool Applier::stands_still() {
  control::HoldState& hold = group_.layout().hold;
  hold_at_ = UpdateNumber(kNoHold);
  const std::uint32_t request = hold.request.load();
  if (hold.until_ns.load() <= os::boottime_ns() || !machine_.settled() || undo_) return false;
  const UpdateNumber number(hold.number.load());
  if (number.value != 0) hold_at_ = number;
  if (machine_.done() < number) return false;
  if (const std::uint32_t repair = hold.repair_request.load();
      repair != hold.repair_answered.load()) {
    const bool right = number.value != 0 && machine_.done() == number && !failed_.load();
    const Result<> done =
        right ? apply_repair() : fail(ErrorCode::kBusy, "the applier does not stand at its number");
    if (!done) std::ofstream(repair_path(group_) + kRepairFailed) << done.error().text();
    hold.repair_failed.store(done ? 0 : 1);
    hold.repair_answered.store(repair);
    group_.notify_acknowledged();
  }
  if (hold.answered.exchange(request) != request) group_.notify_acknowledged();
  return true;
}

bool Applier::hold_asked() const {
  const control::HoldState& hold = group_.layout().hold;
  return hold.request.load() != hold.answered.load() && hold.number.load() == 0 &&
         hold.until_ns.load() > os::boottime_ns();
}

// Absolute, as the master has it at exactly this number: durable before it is reported, and a crash
// in the middle leaves a difference that the next comparison finds.
Result<> Applier::apply_repair() {
  const std::uint64_t bytes = group_.layout().hold.repair_bytes.load();
  // Whoever wrote here may have dropped a database whose handle is known.
  HOTBACKUP_TRY(settle());
  copies_.close_all();
  for (int tries = 0;; ++tries) {
    HOTBACKUP_ASSIGN(auto items, RecordFile::open(repair_path(group_)));
    ApplyBatch batch(group_, copies_);
    Result<> done;
    while (done) {
      HOTBACKUP_ASSIGN(const auto record, items.next(bytes));
      if (!record) break;
      done = batch.apply_body(record->environment, record->body, bytes);
    }
    if (done && !batch.whole()) done = fail(ErrorCode::kCorrupt, "a large value ends early");
    if (done) done = batch.commit();
    if (done) return settle();
    const int rc = done.error().os_error();
    batch.abort();
    if ((rc != MDB_MAP_FULL && rc != MDB_MAP_RESIZED) || tries == 20) return done;
    HOTBACKUP_TRY(batch.make_room_after_failure());
  }
}

std::string repair_path(const control::Group& group) {
  return group.directory() + "/repair";
}

}  // namespace hotbackup::slave
