// SPDX-License-Identifier: Apache-2.0
// Settles the fate of updates whose writer died, or stands still, between its journal append and
// the end of its commit. The next writer does it as it begins (CAPTURE section 2.0); where none
// comes, the queue would wait for ever, and so the master server looks as well.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>

#include "common/control/group.h"

namespace hotbackup::master {

/// Owned by the group's service; look() is called by one thread, each check period.
class SlotResolver {
 public:
  /// A slot whose owner is dead, or that has been open for a second, is resolved under LMDB's
  /// writer lock: published when LMDB has its transaction, else voided. That may block for as long
  /// as another program is in a write transaction, so it happens on a thread of its own, which
  /// outlives this object if need be. A living owner is an incident that names it.
  void look(control::Group& group);

 private:
  struct Seen {
    UpdateNumber number;
    std::chrono::steady_clock::time_point since;
    std::shared_ptr<std::atomic<bool>> busy = std::make_shared<std::atomic<bool>>(false);
    bool named = false;
  };
  void look_at(control::Group& group, control::EnvironmentEntry& entry, Seen& seen);

  std::map<std::uint32_t, Seen> seen_;  // by environment number
};

}  // namespace hotbackup::master
