// SPDX-License-Identifier: Apache-2.0
// Saves and volumes that lie in a directory, from the files alone.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tools/resync/container.h"

namespace hotbackup::resync {

struct Found {
  std::string path;
  bool volume = false;
  bool segment = false;   // of a journal, kept by the archive command: a volume, too
  bool filtered = false;  // known by its FILE.info; only its filter can read it
  std::string problem;    // why it cannot be used; then the rest may be empty
  std::uint64_t bytes = 0;
  Json head;
  Json end;

  std::string group() const { return head.value("group", ""); }
  std::string group_id() const { return head.value("group_id", ""); }
  /// Save: its number. Volume: the first and the last it holds.
  std::uint64_t number() const { return head.value("number", std::uint64_t{0}); }
  std::uint64_t first() const { return head.value("first", std::uint64_t{0}); }
  std::uint64_t last() const { return end.value("last", std::uint64_t{0}); }
  /// The filter to read it through, of the one that was named for what is filtered.
  std::string filter(const std::string& named) const { return filtered ? named : ""; }
  std::int64_t time_ns() const { return head.value("time_ns", std::int64_t{0}); }
};

/// Saves by number and time, then volumes by first number. `from`: directories, files. Segments in
/// directories are read to their end, where they are wanted.
enum class Segments { kLeaveOut, kTake };
Result<std::vector<Found>> find_files(const std::vector<std::string>& from,
                                      Segments segments = Segments::kLeaveOut);

/// One file, as find_files() does.
Found look_at(const std::string& path);

/// Of which group the command speaks: kConfig where there are several and none is named,
/// kNotFound where there is none. Returns its id.
Result<std::string> choose_group(const std::vector<Found>& found, const std::string& wanted);

/// What --until names.
struct Target {
  enum class Kind { kEnd, kNumber, kTime, kMark } kind = Kind::kEnd;
  std::uint64_t number = 0;
  std::int64_t time_ns = 0;
  std::string mark;
  std::string text;
};
/// N, an ISO 8601 time with its zone, mark:NAME or end; kConfig showing both readings of a time
/// without zone.
Result<Target> parse_target(const std::string& text);

}  // namespace hotbackup::resync
