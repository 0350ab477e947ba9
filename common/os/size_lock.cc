// SPDX-License-Identifier: Apache-2.0
#include "common/os/size_lock.h"

#include <fcntl.h>

#include <cerrno>

namespace hotbackup::os {
namespace {

/// One byte where no file reaches. LMDB locks nothing in the data file.
struct flock far_byte(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = off_t{1} << 62;
  lock.l_len = 1;
  return lock;
}

}  // namespace

SizeLock::SizeLock(int fd) : fd_(fd) {
  struct flock lock = far_byte(F_WRLCK);
  while (::fcntl(fd_, F_OFD_SETLKW, &lock) != 0 && errno == EINTR) {
  }
}

SizeLock::~SizeLock() {
  struct flock lock = far_byte(F_UNLCK);
  (void)::fcntl(fd_, F_OFD_SETLK, &lock);
}

}  // namespace hotbackup::os
