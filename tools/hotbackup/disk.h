// SPDX-License-Identifier: Apache-2.0
// What lies on disk where the configuration says an environment is. Changes nothing but lock files.
#pragma once

#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/config/configuration.h"

namespace hotbackup::cli {

/// One existing environment, or a directory where one can be made.
struct EnvironmentOnDisk {
  std::string path;  // canonical, of the directory or file
  bool subdirectory = false;
  bool has_data = false;        // its data file exists and is not empty
  std::string configured = {};  // name of its [[group.env]], where that matters

  std::string data_file() const { return subdirectory ? path + "/data.mdb" : path; }
};

/// One [[group.env]] with a path.
struct ConfiguredPlace {
  std::string name;
  /// The path with its directory made canonical: what capture compares with.
  std::string pattern;
  /// Where capture looks for its link: an existing environment's own directory, and the directory
  /// in which environments can appear.
  std::vector<std::string> link_directories;
  std::vector<EnvironmentOnDisk> existing;
  /// What matches the pattern and is no LMDB environment; one line each.
  std::vector<std::string> notes;
};

/// kNotFound where the directory is missing, kIo where it cannot be read, kCorrupt or kVersion
/// where the named file is no LMDB environment, kRefused for a symbolic link or a device. All name
/// the path.
Result<ConfiguredPlace> look_at(const config::Environment& environment);

/// LMDB makes a lock file to read. One that was not there before gets the owner and mode of the
/// data when this goes, or no program of theirs could open the environment.
class LockFileKeeper {
 public:
  LockFileKeeper(const std::string& path, bool subdirectory);
  ~LockFileKeeper();
  LockFileKeeper(const LockFileKeeper&) = delete;
  LockFileKeeper& operator=(const LockFileKeeper&) = delete;

 private:
  const std::string lock_file_;
  const std::string data_file_;
  bool was_there_;
};

/// Whether any database has items that no rule keeps local.
Result<bool> has_items(const EnvironmentOnDisk& environment, const update::KeepLocalRules& rules);

}  // namespace hotbackup::cli
