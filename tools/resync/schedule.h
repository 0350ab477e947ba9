// SPDX-License-Identifier: Apache-2.0
// What is decided about saves that are made by themselves: when one is due, what may go, how it
// stands. From facts alone: no clock, no files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/config/configuration.h"

namespace hotbackup::resync {

/// A save or a volume of the group.
struct SaveFact {
  std::string path;
  bool volume = false;
  bool valid = true;  // whole as far as is known, and not marked invalid
  bool verified = false;
  std::uint64_t first = 0;  // of a save: its number
  std::uint64_t last = 0;   // of a save: its number
  std::int64_t time_ns = 0;
  std::uint64_t bytes = 0;
};

/// A directory of `into`, and what the last runs remember of it.
struct SavePlace {
  std::string path;
  std::vector<SaveFact> files;
  std::int64_t full_failed_ns = 0;   // when the last attempt of a full save failed; 0: it did not
  std::int64_t differential_ns = 0;  // when it was last made level with the journal
  std::string problem;               // of the last attempt, for people
};

/// The newest time up to `now` at which a full save was due; for a duration: one ago.
std::int64_t slot_before(const config::Schedule& schedule, std::int64_t now_ns);
/// The first time after `from` at which one is due.
std::int64_t slot_after(const config::Schedule& schedule, std::int64_t from_ns);
std::int64_t period_ns(const config::Schedule& schedule);

/// When the place's next full save, or its next volume, is due: `now` or earlier means now.
/// Nothing: never.
std::optional<std::int64_t> next_full(const config::Saves& saves, const SavePlace& place,
                                      std::int64_t now_ns);
std::optional<std::int64_t> next_differential(const config::Saves& saves, const SavePlace& place,
                                              std::int64_t now_ns);

struct Due {
  std::vector<std::size_t> full;  // indices of places
  std::vector<std::size_t> differential;
  std::optional<std::int64_t> next_ns;  // of all that is not due now
};
Due what_is_due(const config::Saves& saves, const std::vector<SavePlace>& places,
                std::int64_t now_ns);

/// Which files of one place may go, in the order in which they have to. Every moment of the last
/// `keep` that can be restored still can afterwards, and so can the newest state of all.
std::vector<std::string> removable(const std::vector<SaveFact>& files,
                                   std::chrono::milliseconds keep, std::int64_t now_ns);
/// What will go when the next full save is there, and when that is.
struct Removals {
  std::int64_t time_ns = 0;
  std::vector<std::string> paths;
};
Removals next_removals(const config::Saves& saves, const SavePlace& place, std::int64_t now_ns);

/// What the place will hold once as many saves lie there as are kept; nothing where that cannot be
/// told.
std::optional<std::uint64_t> expected_bytes(const config::Saves& saves, const SavePlace& place);

/// Texts of incidents; "": all is well.
struct Standing {
  std::string too_old;
  std::string one_place;
};
/// `since_ns`: when saves were first looked after here, which is what counts before the first one.
Standing how_it_stands(const config::Saves& saves, const std::vector<SavePlace>& places,
                       std::int64_t since_ns, std::int64_t now_ns);

}  // namespace hotbackup::resync
