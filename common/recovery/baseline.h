// SPDX-License-Identifier: Apache-2.0
// Baselines: what LMDB's txnids mean from here on. CAPTURE section 3.
#pragma once

#include <lmdb.h>
#include <sys/types.h>

#include <string>

#include "common/control/group.h"
#include "common/update/codec.h"

namespace hotbackup::recovery {

struct Description {
  update::EnvironmentBody body;
  ino_t inode = 0;  // of the data file that is open
};
/// What a slave needs to make the environment's copy: name, map size, owner, mode.
Description describe(const control::EnvironmentEntry& entry, MDB_env* env);

/// Journals environment and baseline, and sets what LMDB is due to show: from here on captured
/// updates of this environment on this node have txnid at+1, at+2, … The caller holds the journal
/// lock, and LMDB's writer lock or a promise that nobody commits there.
Result<> append_baseline(control::Group& group, control::EnvironmentEntry& entry,
                         os::SharedLock& lock, const Description& environment, TxnId at);

}  // namespace hotbackup::recovery
