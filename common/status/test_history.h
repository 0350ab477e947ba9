// SPDX-License-Identifier: Apache-2.0
// What became of test updates: <group>/tests, a JSON line for each and peer, the newest last.
// docs/operating/test-updates.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/control/group.h"

namespace hotbackup::status {

struct TestResult {
  WallTime time;
  UpdateNumber number;
  std::string peer;
  std::string result;  // "echoed", "late", "wrong", "held" (by a pause or delay), "no answer"
  std::optional<double> round_trip_ms;  // of an echo
};

/// Appends; what is older than the last few weeks goes.
Result<> note_test(control::Group& group, const TestResult& test);
/// The last `most` of them, oldest first; lines that are none are passed over.
std::vector<TestResult> read_tests(const std::string& group_directory, std::size_t most);
/// Of the last echo; nothing when the last test update had none.
std::optional<double> last_round_trip_ms(const std::string& group_directory);

}  // namespace hotbackup::status
