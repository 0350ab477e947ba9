// SPDX-License-Identifier: Apache-2.0
#include "master/capture/databases.h"

namespace hotbackup::capture {

DatabaseTable::Entry& DatabaseTable::at(MDB_dbi dbi) {
  if (entries_.size() <= dbi) entries_.resize(dbi + 1);
  return entries_[dbi];
}

// Opening a handle that is open already gives the same number and keeps its comparison.
void DatabaseTable::opened(MDB_dbi dbi, const char* name, MDB_txn* writer) {
  const std::lock_guard guard(mutex_);
  Entry& entry = at(dbi);
  if (name == nullptr || (entry.name != nullptr && *entry.name == name)) return;
  entry = {&*names_.emplace(name).first, false, writer};
}

void DatabaseTable::ended(MDB_txn* writer, MDB_txn* parent, bool commits) {
  const std::lock_guard guard(mutex_);
  for (Entry& entry : entries_) {
    if (entry.opened_in != writer) continue;
    if (commits)
      entry.opened_in = parent;
    else
      entry = {};
  }
}

void DatabaseTable::closed(MDB_dbi dbi) {
  const std::lock_guard guard(mutex_);
  if (dbi != kMain && dbi < entries_.size()) entries_[dbi] = {};
}

void DatabaseTable::set_custom_order(MDB_dbi dbi) {
  const std::lock_guard guard(mutex_);
  at(dbi).custom_order = true;
}

DatabaseTable::Entry DatabaseTable::find(MDB_dbi dbi) const {
  const std::lock_guard guard(mutex_);
  return dbi < entries_.size() ? entries_[dbi] : Entry{};
}

}  // namespace hotbackup::capture
