// SPDX-License-Identifier: Apache-2.0
// The journal's size limit, where commits are refused at it (at_journal_limit = "refuse").
#include <algorithm>

#include "common/journal/journal.h"

namespace hotbackup::journal {

// Asked only when a segment has to be begun, so that it costs nothing otherwise. It clears itself:
// whoever retires a segment makes room. Spares are not counted, since one of them is what is begun.
Result<> Journal::check_limit(std::uint64_t needed_bytes) {
  const std::uint64_t limit = tail_.bytes_max.load();
  if (limit == 0) return {};
  const bool fits =
      tail_.segment_first.load() != 0 && tail_.offset + needed_bytes <= tail_.segment_bytes;
  if (fits) return {};
  std::uint64_t bytes = std::max(segment_bytes_, kSegmentHeaderBytes + needed_bytes);
  HOTBACKUP_ASSIGN(const auto segments, list_segments(directory_));
  for (const UpdateNumber first : segments) {
    auto file = directory_.open(segment_name(first), /*writable=*/false);
    if (!file && file.error().code() == ErrorCode::kNotFound) continue;  // retired meanwhile
    if (!file) return fail(std::move(file).error());
    HOTBACKUP_ASSIGN(const auto size, (*file)->size());
    bytes += size;
  }
  if (bytes <= limit) return {};
  return fail(ErrorCode::kNoSpace,
              "the journal is at its limit of " + std::to_string(limit) + " bytes");
}

}  // namespace hotbackup::journal
