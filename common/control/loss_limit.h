// SPDX-License-Identifier: Apache-2.0
// The loss limit as captured programs need it: they cannot read the configuration, so it stands in
// group.toml (to survive a reboot) and in the control file. CAPTURE section 2, step 7.
#pragma once

#include <chrono>
#include <cstdint>

namespace hotbackup::control {

enum class LimitKind : std::uint32_t { kOff = 0, kUpdates = 1, kBytes = 2, kTime = 3 };
enum class AtLimit : std::uint32_t { kAlarm = 0, kWait = 1, kRefuse = 2 };

struct LossLimit {
  LimitKind kind = LimitKind::kOff;
  std::uint64_t amount = 0;  // updates, bytes or nanoseconds; 0 updates: every commit waits
  AtLimit at_limit = AtLimit::kAlarm;
  std::chrono::nanoseconds wait_max{std::chrono::seconds(5)};  // 0: for ever
  bool applied = false;     // an update counts as acknowledged when readers of the copy see it
  std::uint32_t peers = 1;  // how many have to acknowledge; 0: all
  bool operator==(const LossLimit&) const = default;
};

}  // namespace hotbackup::control
