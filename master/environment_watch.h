// SPDX-License-Identifier: Apache-2.0
// Notices writes that bypassed capture, and files that were replaced, although nobody who is
// captured writes there: CAPTURE section 8.
#pragma once

#include <map>

#include "common/control/group.h"

namespace hotbackup::master {

/// Owned by the group's service; look() is called by one thread, each check period.
class EnvironmentWatch {
 public:
  /// Compares the data file of each environment with what captured commits have left there. The
  /// first error, after all were looked at.
  Result<> look(control::Group& group);

 private:
  Result<> look_at(control::Group& group, control::EnvironmentEntry& entry);
  Result<> replaced(control::Group& group, control::EnvironmentEntry& entry, std::string_view how);

  std::map<std::uint32_t, TxnId> noted_;  // by environment number: what was found and said
};

}  // namespace hotbackup::master
