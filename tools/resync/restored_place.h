// SPDX-License-Identifier: Apache-2.0
// What a directory that was restored into is a copy of, so that volumes can follow: a file
// .hotbackup-restored in it.
#pragma once

#include "tools/resync/restore.h"

namespace hotbackup::resync {

inline constexpr char kRestoredName[] = ".hotbackup-restored";

struct RestoredPlace {
  std::string group;
  GroupId id;
  Position position;
  struct Environment {
    EnvironmentNumber number;
    std::string name;
    std::string path;
    bool subdirectory = false;
  };
  std::vector<Environment> environments;
};

Result<> write_restored_place(const std::string& directory, const Restored& restored);
Result<> write_restored_place(const std::string& directory, const RestoredPlace& place);
/// kNotFound where nothing was restored; kCorrupt.
Result<RestoredPlace> read_restored_place(const std::string& directory);

}  // namespace hotbackup::resync
