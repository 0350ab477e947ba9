// SPDX-License-Identifier: Apache-2.0
// Frames in the blocks of a container: a save's own, numbered 1, 2, 3 … in it, and a journal's as
// they lie there.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "common/journal/frame.h"

namespace hotbackup::resync {

/// Makes the frames of a save.
class SaveFrames {
 public:
  SaveFrames(const GroupId& group, const Epoch& epoch)
      : group_(group), epoch_(epoch), chain_(journal::chain_before_all(group)) {}
  void add(std::string& to, journal::FrameKind kind, EnvironmentNumber environment,
           std::string_view body);
  std::uint64_t count() const { return number_; }

 private:
  const GroupId group_;
  const Epoch epoch_;
  ChainHash chain_;
  std::uint64_t number_ = 0;
};

/// Calls visit with each frame of a block; kCorrupt where the bytes are not whole frames. What
/// follows on what is the visitor's to check.
Result<> each_frame(std::string_view raw,
                    const std::function<Result<>(const journal::FrameView&)>& visit);

}  // namespace hotbackup::resync
