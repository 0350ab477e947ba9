// SPDX-License-Identifier: Apache-2.0
#include "master/frame_chunk.h"

namespace hotbackup::master {

Result<FrameChunk> read_chunk(journal::Reader& reader, UpdateNumber published,
                              std::size_t bytes_target) {
  FrameChunk chunk;
  while (chunk.frames.size() < bytes_target) {
    const auto frame = reader.next(published);
    // What lies before damage still goes to the slave; the error comes again with the next chunk.
    if (!frame && chunk.frames.empty()) return fail(frame.error());
    if (!frame || !*frame) break;
    chunk.frames += (*frame)->bytes;
  }
  chunk.through = reader.next_number().previous();
  chunk.at_boundary = reader.at_boundary();
  return chunk;
}

}  // namespace hotbackup::master
