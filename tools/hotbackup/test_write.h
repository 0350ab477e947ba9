// SPDX-License-Identifier: Apache-2.0
// Writes a test update the way any program does: a process of its own, under capture, into the
// group's test environment.
#pragma once

#include <chrono>
#include <string>

#include "tools/hotbackup/command.h"

namespace hotbackup::cli {

struct Written {
  UpdateNumber number;
  std::chrono::steady_clock::time_point begun;  // before its transaction
};

/// Makes the environment where it is missing; blocks until the commit has returned. On a master.
/// kIo, with what the process said, where it could not be written or nobody captured it.
Result<Written> write_test_update(control::Group& group, const std::string& value);

/// What that process does: prints the number and the time.
void add_test_write(CLI::App& app, Session& session);

}  // namespace hotbackup::cli
