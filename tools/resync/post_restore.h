// SPDX-License-Identifier: Apache-2.0
// The hook post_restore of a restore onto a group's own places.
#pragma once

#include "common/config/configuration.h"
#include "common/control/group.h"

namespace hotbackup::resync {

/// Until the hook has succeeded on what was restored the node may not be promoted, also when
/// somebody pulled the plug in between: that is noted before the restore changes anything, and
/// taken back where it changed nothing.
class PostRestore {
 public:
  /// Borrows both; `group` is null where it was not initialised here yet.
  PostRestore(const config::Group& settings, control::Group* group)
      : settings_(settings), group_(group) {}
  PostRestore(const PostRestore&) = delete;
  PostRestore& operator=(const PostRestore&) = delete;
  ~PostRestore();

  Result<> expect();
  void restored() { expected_ = false; }
  /// `places`: NAME=PATH. Without a hook there is nothing to do but to forget that it was due.
  Result<> run(UpdateNumber number, const std::vector<std::string>& places);

 private:
  Result<> note(const std::string& why);

  const config::Group& settings_;
  control::Group* const group_;
  bool expected_ = false;
  std::string before_;
};

/// HOTBACKUP_ROLE, _EPOCH, _PEER and _PLACES (a line NAME=PATH for each environment).
std::vector<std::string> hook_environment(control::Group* group,
                                          const std::vector<std::string>& places);

}  // namespace hotbackup::resync
