// SPDX-License-Identifier: Apache-2.0
// The path of an environment: a directory, a file, or a pattern; and which two of them cannot both
// be captured. A directory holds one capture link, so it belongs to one group.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace hotbackup::config {

struct DataPath {
  std::string text;       // absolute and normal, without a trailing slash
  std::string directory;  // of a pattern: where its files appear
  std::string prefix;     // of a pattern: the file's name before and after the '*'
  std::string suffix;
  bool is_pattern = false;
};

/// An absolute path without "..": kConfig otherwise.
Result<std::string> parse_absolute_path(std::string_view text);
/// The same with at most one '*', in the last component.
Result<DataPath> parse_data_path(std::string_view text);

/// Why the two environments exclude each other, or nothing. What depends on a path being a file or
/// a directory is left to the moment the link is made.
std::optional<std::string> conflict(const DataPath& a, const DataPath& b, bool same_group);

}  // namespace hotbackup::config
