// SPDX-License-Identifier: Apache-2.0
// `files = […]` of a group: files outside the databases that travel with saves.
#pragma once

#include "tools/resync/container.h"

namespace hotbackup::resync {

/// Each file, or every file below a directory, into blocks of kind kFile; lists them. A path that
/// is not there is an error: a save without what it was told to hold is none.
Result<> write_carried_files(const std::vector<std::string>& paths, ContainerWriter& writer,
                             Json& listed);

/// Puts them down while a save is read: under `root` (beside their final place when it is empty)
/// first; place() gives them their names.
class CarriedFiles {
 public:
  /// `owners`: names of owners there and here.
  CarriedFiles(std::string root, std::vector<std::pair<std::string, std::string>> owners)
      : root_(std::move(root)), owners_(std::move(owners)) {}
  ~CarriedFiles();
  Result<> take(const Block& block);
  /// kCorrupt where they are not what the save's end lists.
  Result<> check(const Json& listed) const;
  /// Existing ones stay under NAME.replaced-`suffix` when `replace`; else they are refused before
  /// anything is placed.
  Result<> place(bool replace, const std::string& suffix);
  std::size_t count() const { return made_.size(); }

 private:
  struct Made {
    std::string path;
    std::string temporary;
    Json listed;
  };
  const std::string root_;
  const std::vector<std::pair<std::string, std::string>> owners_;
  std::vector<Made> made_;
};

}  // namespace hotbackup::resync
