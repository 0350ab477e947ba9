// SPDX-License-Identifier: Apache-2.0
// A piece of the journal in the size of a message.
#pragma once

#include <string>

#include "common/journal/reader.h"

namespace hotbackup::master {

struct FrameChunk {
  std::string frames;    // empty: nothing to read yet
  UpdateNumber through;  // the last whole update in it, or the one before its first frame
  bool at_boundary = true;
};

/// Whole frames of updates up to `published`: at least one if there is one, and no further one
/// once `bytes_target` is reached. Whether they are the many updates of a backlog or the parts of a
/// large update makes no difference.
Result<FrameChunk> read_chunk(journal::Reader& reader, UpdateNumber published,
                              std::size_t bytes_target);

}  // namespace hotbackup::master
