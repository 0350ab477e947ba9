// SPDX-License-Identifier: Apache-2.0
// A mark: a point in the journal that a person named, as a control frame of its own whose body is
// the name. docs/formats/journal.md.
#pragma once

#include <string>
#include <string_view>

#include "common/journal/frame.h"

namespace hotbackup::journal {

/// Kept out of the enumeration of kinds that change what a reader does: to all but those who look
/// for names a mark is an update without operations.
inline constexpr FrameKind kMarkFrame = static_cast<FrameKind>(6);
inline constexpr std::size_t kMarkBytesMax = 200;

inline bool is_mark(const FrameHeader& header) {
  return header.kind == kMarkFrame;
}

/// kCorrupt for a body that no mark has.
inline Result<std::string> mark_name(const FrameView& frame) {
  if (!is_mark(frame.header) || frame.body.empty() || frame.body.size() > kMarkBytesMax)
    return fail(ErrorCode::kCorrupt, "a mark without a usable name");
  return std::string(frame.body);
}

}  // namespace hotbackup::journal
