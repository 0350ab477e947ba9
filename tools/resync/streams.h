// SPDX-License-Identifier: Apache-2.0
// Where containers lie: files that get their name when they are whole, standard input and output,
// filters.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "tools/resync/container.h"

namespace hotbackup::resync {

/// What is being written ends in this, and is locked while somebody writes it.
inline constexpr char kPartSuffix[] = ".part";

/// A new file. It is written as PATH.part beside its place; finish() syncs it and gives it its
/// name, which must not exist: kRefused. `filter`: a shell command between, its input and output.
Result<std::unique_ptr<Sink>> make_file_sink(const std::string& path, const std::string& filter);
/// Standard output ("-"), a pipe or a device that is there.
Result<std::unique_ptr<Sink>> open_stream_sink(const std::string& path, const std::string& filter);

/// Raised by who wants all reading and writing here to end: kCancelled, and what is unfinished
/// goes.
std::atomic<bool>& stop_requested();

/// Unfinished files of writers that are gone.
std::vector<std::string> interrupted_in(const std::string& directory);

struct Destination {
  enum class Kind { kDirectory, kFile, kStream } kind = Kind::kDirectory;
  std::string path;
};
/// What --into names: "-", a pipe or device, a directory (made if the last word of a new path has
/// no dot in it, or ends with '/'), else a file. kRefused for a file that is there.
Result<Destination> destination(const std::string& into);

}  // namespace hotbackup::resync
