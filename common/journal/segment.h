// SPDX-License-Identifier: Apache-2.0
// Segment files: names, the header block, making and recycling them. docs/formats/journal.md.
//
// Header block, 4096 bytes, then frames:
//   0  4  magic "HBJ1"        24  8  first update number      56 16  epoch before it
//   4  4  version, 1          32 16  chain before it           72  8  XXH3-64 of bytes 0..71
//   8 16  group id            48  8  segment bytes
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/os/file.h"

namespace hotbackup::journal {

inline constexpr std::uint64_t kSegmentHeaderBytes = 4096;

struct SegmentHeader {
  GroupId group;
  UpdateNumber first;
  ChainHash chain;  // of the frame before the first
  Epoch epoch;      // of the update before the first
  std::uint64_t segment_bytes = 0;
};

std::string encode_segment_header(const SegmentHeader& header);
Result<SegmentHeader> decode_segment_header(std::string_view bytes);
/// Reads and decodes the header block of an open segment file.
Result<SegmentHeader> read_segment_header(os::File& file);

/// Overwrites with zeros whatever is not zero in [from, to): stale bytes behind a tail.
Result<> zero_range(os::File& file, std::uint64_t from, std::uint64_t to);
/// Makes the journal end here for a reader that has this segment open: it looks for the next one
/// where a frame is blank. Who opens it later knows by the names where it ends, so this need not
/// reach the disk.
Result<> blank_from(os::File& segment, std::uint64_t offset);

/// "0000000000000042.hbj": the first update number, decimal.
std::string segment_name(UpdateNumber first);
std::optional<UpdateNumber> parse_segment_name(std::string_view name);

/// First numbers of all segments in the directory, ascending.
Result<std::vector<UpdateNumber>> list_segments(os::Directory& directory);

/// Makes the file for a new active segment: a spare of the right size if there is one, else a new
/// file. Header and what `fill` writes are synced, then the name, then the directory, before this
/// returns.
Result<std::unique_ptr<os::File>> make_segment(os::Directory& directory,
                                               const SegmentHeader& header,
                                               const std::function<Result<>(os::File&)>& fill = {});

/// Puts a zero-filled, synced spare of this size in place unless one is there.
Result<> prepare_spare(os::Directory& directory, std::uint64_t segment_bytes);

/// Removes spares until at most this many are there.
Result<> remove_spares(os::Directory& directory, std::size_t most);

/// Takes a segment out of the journal: it becomes a spare if it has the standard size and fewer
/// than two spares are there, else it is removed.
Result<> retire_segment(os::Directory& directory, UpdateNumber first, std::uint64_t segment_bytes);

}  // namespace hotbackup::journal
