// SPDX-License-Identifier: Apache-2.0
// Orders two kinds of processes that work on one LMDB data file: one that commits by writing pages
// behind the file's end, and one whose writable map sets the file's size.
#pragma once

namespace hotbackup::os {

/// Held by who commits in a copy that others map, and by who sets its size. Belongs to the open
/// file, not to the thread: one holder in a process. Goes with its process. Blocks.
class SizeLock {
 public:
  /// An open descriptor of the data file, with write access; borrowed.
  explicit SizeLock(int fd);
  ~SizeLock();
  SizeLock(const SizeLock&) = delete;
  SizeLock& operator=(const SizeLock&) = delete;

 private:
  const int fd_;
};

}  // namespace hotbackup::os
