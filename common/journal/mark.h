// SPDX-License-Identifier: Apache-2.0
// A mark: a point in the journal that a person named, as a control frame of its own whose body is
// the name. docs/formats/journal.md.
#pragma once

#include <string>

#include "common/journal/frame.h"

namespace hotbackup::journal {

inline constexpr std::size_t kMarkBytesMax = 200;

/// kCorrupt for a frame that is no mark, or whose body none has.
inline Result<std::string> mark_name(const FrameView& frame) {
  if (frame.header.kind != FrameKind::kMark || frame.body.empty() ||
      frame.body.size() > kMarkBytesMax)
    return fail(ErrorCode::kCorrupt, "a mark without a usable name");
  return std::string(frame.body);
}

}  // namespace hotbackup::journal
