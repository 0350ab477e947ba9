// SPDX-License-Identifier: Apache-2.0
// Files and directories as objects handed in, so that tests can pass ones that forget what was not
// synced. Every call may block; every error is kNoSpace, kNotFound or kIo with the OS error.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"

namespace hotbackup::os {

/// Owner and mode for files that are made here, whoever makes them and with whatever umask.
struct Permissions {
  uid_t uid = static_cast<uid_t>(-1);  // -1: leave
  gid_t gid = static_cast<gid_t>(-1);
  mode_t mode = 0640;
};

class File {
 public:
  virtual ~File() = default;

  /// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
  virtual Result<std::size_t> read_at(std::uint64_t offset, char* to, std::size_t size) = 0;
  /// Writes all of it or fails; after a failure any part may have been written.
  virtual Result<> write_at(std::uint64_t offset, std::string_view bytes) = 0;
  /// After success the bytes written before survive a power loss. After a failure they may be lost
  /// although a later read shows them.
  virtual Result<> sync_data() = 0;
  virtual Result<std::uint64_t> size() = 0;
  /// Grows the file to `size` bytes, with blocks reserved. `zeroed`: zeros are really written, so
  /// that later overwrites change no metadata and sync faster.
  virtual Result<> allocate(std::uint64_t size, bool zeroed) = 0;
};

class Directory {
 public:
  virtual ~Directory() = default;

  /// Opens for reading and writing, or for reading only.
  virtual Result<std::unique_ptr<File>> open(const std::string& name, bool writable = true) = 0;
  /// Makes a new file; it is an error if the name exists.
  virtual Result<std::unique_ptr<File>> create(const std::string& name) = 0;
  virtual Result<> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<> remove(const std::string& name) = 0;
  /// Names of all entries but "." and "..", in no order.
  virtual Result<std::vector<std::string>> list() = 0;
  /// After success creations, renames and removals survive a power loss.
  virtual Result<> sync() = 0;
};

/// The real thing. Files are opened O_NOFOLLOW and O_CLOEXEC.
Result<std::unique_ptr<Directory>> open_directory(const std::string& path,
                                                  const Permissions& permissions);
/// The directory of this name in `parent`, or where a link of that name leads if it has the same
/// owner as `parent`: whoever may write there must not choose where others make files, kRefused.
/// `path` is what errors call it.
Result<std::unique_ptr<Directory>> open_directory(int parent, const std::string& name,
                                                  const std::string& path,
                                                  const Permissions& permissions);

/// Whole small files, and their durable replacement (write, sync, rename, sync the directory).
Result<std::string> read_file(const std::string& path, std::size_t bytes_max = 16 << 20);
Result<> replace_file(Directory& directory, const std::string& name, std::string_view content);
Result<> replace_file(const std::string& path, std::string_view content,
                      const Permissions& permissions);
/// Creates the directory and its parents, all with this owner; parents may be entered by everybody.
/// Existing ones are left as they are.
Result<> make_directories(const std::string& path, const Permissions& permissions);

}  // namespace hotbackup::os
