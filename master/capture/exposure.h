// SPDX-License-Identifier: Apache-2.0
// The loss limit in a commit: a refusal before anything is journaled, a wait after everything is
// done. CAPTURE section 2, steps 2 and 7. While the limit is off a commit pays for one load.
#pragma once

#include "common/control/group.h"

namespace hotbackup::capture {

/// What one commit owes the loss limit. Lies on the committing thread's stack.
struct Claim {
  bool counts = false;
  std::uint64_t bytes = 0;
  std::uint64_t bytes_through = 0;  // of all updates with this one
};

/// Under the journal lock, before anything of an update of `bytes` is appended; `controls` control
/// frames go before it. kBusy with EAGAIN where the limit refuses it.
Result<> admit(control::Group& group, std::uint64_t bytes, std::uint64_t controls, Claim& claim);
/// The update is appended; still under the journal lock.
void admitted(control::Group& group, Claim& claim);

/// The last thing before the program hears that its commit succeeded: LMDB has committed, the slot
/// is clear, and this thread holds no lock of ours. Waits where the limit says so, no longer than
/// wait_max; then the commit has succeeded all the same, and an incident says what is exposed.
void settle(control::Group& group, const Claim& claim, UpdateNumber number) noexcept;

}  // namespace hotbackup::capture
