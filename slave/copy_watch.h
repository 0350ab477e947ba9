// SPDX-License-Identifier: Apache-2.0
// Whether a copy is still what this slave made of it: nobody else has written to it, and the file
// at its path is the one that was written.
#pragma once

#include "common/control/group.h"

namespace hotbackup::slave {

/// Compares a copy's last txnid with that of our last commit, which the control file keeps: a write
/// by somebody else is seen although it came while this server was down. Raises HB-copy-written,
/// and marks the copies as differing, durably. An error is that mark's.
Result<> note_foreign_write(control::Group& group, control::EnvironmentEntry& entry, TxnId last);

/// kFenced, with HB-copy-replaced raised, when another file or none is at the copy's path.
Result<> check_in_place(control::Group& group, control::EnvironmentEntry& entry);
/// The file that is open here is the copy from now on, unless one is known.
void note_copy_file(control::EnvironmentEntry& entry, int file);

}  // namespace hotbackup::slave
