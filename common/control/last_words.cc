// SPDX-License-Identifier: Apache-2.0
#include "common/control/last_words.h"

#include "common/control/group_file.h"

namespace hotbackup::control {
namespace {

Result<> change_words(Group& group, bool keep) {
  HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
  HOTBACKUP_ASSIGN(auto stored, read_group_file(group.directory()));
  bool changed = false;
  for (EnvironmentRecord& record : stored.environments) {
    const EnvironmentEntry* entry = group.environment(record.number);
    TxnId txnid;
    std::uint64_t inode = 0;
    if (keep && entry != nullptr && entry->baselined.load() == 1) {
      txnid = TxnId(entry->last_txnid.load());
      inode = entry->inode.load();
    }
    changed = changed || record.quiet_txnid != txnid || record.quiet_inode != inode;
    record.quiet_txnid = txnid;
    record.quiet_inode = inode;
  }
  return changed ? write_group_file(group.directory(), stored) : Result<>();
}

}  // namespace

Result<> note_last_words(Group& group) {
  return change_words(group, /*keep=*/true);
}

Result<> forget_last_words(Group& group) {
  return change_words(group, /*keep=*/false);
}

}  // namespace hotbackup::control
