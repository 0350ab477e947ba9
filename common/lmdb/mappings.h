// SPDX-License-Identifier: Apache-2.0
// The data files that this process has open through liblmdb, and where they are mapped. Its lock
// keeps a map in place while its pages are dropped.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <vector>

namespace hotbackup::lmdb {

struct Mapping {
  dev_t device = 0;
  ino_t inode = 0;
  char* address = nullptr;  // nullptr: not found, its pages are not dropped
  std::size_t bytes = 0;
};

/// Unlike a mutex, this may be tried in a signal handler.
class HandlerLock {
 public:
  void lock() {
    while (!try_lock()) flag_.wait(true);
  }
  bool try_lock() { return !flag_.test_and_set(); }
  void unlock() {
    flag_.clear();
    flag_.notify_one();
  }

 private:
  std::atomic_flag flag_;
};

class Mappings {
 public:
  static Mappings& instance();
  HandlerLock lock;
  std::vector<Mapping> open;  // guarded by lock

  Mapping* find(dev_t device, ino_t inode);
};

/// Where this process maps the file, from /proc/self/maps.
void locate(Mapping& mapping);

}  // namespace hotbackup::lmdb
