// SPDX-License-Identifier: Apache-2.0
// Whether a file is what was written.
#pragma once

#include <string>
#include <vector>

#include "tools/resync/container.h"

namespace hotbackup::resync {

struct Checked {
  std::string path;
  std::string kind;
  std::string what;          // "dns at 42", "dns 1..42"
  std::string how = "read";  // "filtered": its bytes are right, what they stand for was not seen
  std::uint64_t bytes = 0;
  std::vector<ContainerReader::Damage> damage;
};

/// A save, volume or segment. Without `filter` a filtered file's bytes are compared with what was
/// noted when they were written. An error: it could not be looked at.
Result<Checked> check_file(const std::string& path, const std::string& filter);

}  // namespace hotbackup::resync
