// SPDX-License-Identifier: Apache-2.0
// FILE.info: what is known of a file that went through a filter, so that it can be listed, chosen
// and checked without the key. docs/formats/save.md says what it discloses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/resync/container.h"

namespace hotbackup::resync {

inline constexpr char kInfoSuffix[] = ".info";

struct FilteredInfo {
  ContainerKind kind = ContainerKind::kSave;
  std::uint64_t bytes = 0;        // of the filtered file
  std::uint64_t piece_bytes = 0;  // each piece has its hash; the last one is shorter
  std::vector<std::string> hashes;
  Json head;  // without what names paths and databases
  Json end;
};

/// Durable when it returns. Reads `written`, the file before it has its name `path`.
Result<> write_info(const std::string& path, const std::string& written, const Json& head,
                    const Json& end);
/// kNotFound where there is none; kCorrupt.
Result<FilteredInfo> read_info(const std::string& path);
/// With the file that it is of; none is no error.
Result<> rename_info(const std::string& from, const std::string& to);

struct FilteredDamage {
  std::uint64_t offset = 0;
  std::string text;
};
/// Where the file is not the one that was written.
Result<std::vector<FilteredDamage>> check_filtered(const std::string& path,
                                                   const FilteredInfo& info);

}  // namespace hotbackup::resync
