// SPDX-License-Identifier: Apache-2.0
// A file of bodies, each for one environment: what a rejoin wants and what it was sent.
//
//   0  4  environment        8  8  XXH3-64 of the body
//   4  4  bytes of the body 16     body
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/base/ids.h"
#include "common/os/file.h"

namespace hotbackup::slave {

/// Behind a repair's path: a line that says why it could not be put in.
inline constexpr char kRepairFailed[] = ".failed";

struct Record {
  EnvironmentNumber environment;
  std::string body;
};

/// One thread.
class RecordFile {
 public:
  /// Empty; one that is there goes.
  static Result<RecordFile> create(const std::string& path, const os::Permissions& permissions);
  /// Reads from the beginning.
  static Result<RecordFile> open(const std::string& path);

  Result<> append(EnvironmentNumber environment, std::string_view body);
  Result<> sync();
  /// The next record; nothing at `end`, a number of bytes. kCorrupt where there is none.
  Result<std::optional<Record>> next(std::uint64_t end);
  void rewind() { offset_ = 0; }
  /// Bytes written, or read so far.
  std::uint64_t offset() const { return offset_; }

 private:
  RecordFile(std::string path, std::unique_ptr<os::File> file)
      : path_(std::move(path)), file_(std::move(file)) {}
  std::string path_;
  std::unique_ptr<os::File> file_;
  std::uint64_t offset_ = 0;
};

}  // namespace hotbackup::slave
