// SPDX-License-Identifier: Apache-2.0
// Whether a save can be lived on: read, restored for trial, looked at by the application.
#pragma once

#include <string>

#include "common/config/configuration.h"
#include "common/control/group.h"

namespace hotbackup::resync {

struct VerifyWay {
  const config::Group& settings;
  control::Group& group;
  config::Verify level = config::Verify::kRead;
  std::string trial;  // a directory that is made and goes again
};

/// How it was proved: "read", "filtered", "restore" or "app". A volume, and what cannot be brought
/// back through its filter, is read. kCorrupt: it is of no use; any other error: that could not be
/// found out.
Result<std::string> verify_saved(const std::string& path, const VerifyWay& way);

}  // namespace hotbackup::resync
