// SPDX-License-Identifier: Apache-2.0
// The gate that closes for a moment, and the lease. CAPTURE section 2, DESIGN section 9.
#pragma once

#include <lmdb.h>

#include "common/control/group.h"

namespace hotbackup::capture {

/// mdb_txn_begin of a write transaction that has no parent. While the gate is closed it waits, but
/// not in a thread that holds another write transaction of the group: a program that writes in two
/// environments at once must be able to end both. On success note_end() follows.
int begin_through_gate(control::Group& group, MDB_env* env, unsigned flags, MDB_txn** txn);
void note_end(const control::Group& group);

/// False once the lease has run out: nothing may be appended.
bool lease_holds(const control::Group& group);
/// After a commit: until the lease is renewed. EACCES when this node is no longer master: the
/// commit has happened here, and nobody may be told that it counts.
int await_lease(control::Group& group);

}  // namespace hotbackup::capture
