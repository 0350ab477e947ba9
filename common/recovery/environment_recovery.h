// SPDX-License-Identifier: Apache-2.0
// After a reboot: what became of each environment's last update. CAPTURE section 4.
#pragma once

#include <functional>
#include <string>

#include "common/control/group.h"

namespace hotbackup::recovery {

enum class Outcome {
  kLevel,     // it shows what the journal says
  kReplayed,  // its last update was missing and has been done again
  kVoided,    // its last update was missing and cannot be done again; its commit had not returned
  kUnlogged,  // it was written without capture, or without syncs: only a seed makes copies equal
  kReplaced,  // another file stands in its place: the same
};
/// "level", "replayed", …: stable names for logs and JSON.
std::string_view outcome_name(Outcome outcome);

struct Recovered {
  Outcome outcome = Outcome::kLevel;
  UpdateNumber update;  // replayed or voided; 0: none
  std::string text;     // one sentence
};

/// Brings one environment level; afterwards it is not due any more, and its baseline is durable.
/// Does nothing where that was done since the boot. Waits for LMDB's writer lock. kBusy when the
/// environment is not level and this process may not write it; other errors leave it due.
Result<Recovered> recover(control::Group& group, control::EnvironmentEntry& entry);

/// The same for all that is due. `report` hears of each. The first error, after all were tried.
using Report = std::function<void(const control::EnvironmentEntry&, const Recovered&)>;
Result<> recover_all(control::Group& group, const Report& report = {});

}  // namespace hotbackup::recovery
