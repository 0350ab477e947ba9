// SPDX-License-Identifier: Apache-2.0
// hotbackup's own small environment in every group: test updates go through it. Nobody can
// configure one of this name, and it is in no list that users see. docs/operating/test-updates.md.
#pragma once

#include <string_view>

namespace hotbackup::control {

inline constexpr char kTestEnvironment[] = "hotbackup-test";
/// Its one item: the newest test update's text.
inline constexpr char kTestKey[] = "test";

inline bool is_test_environment(std::string_view name) {
  return name == kTestEnvironment;
}

}  // namespace hotbackup::control
