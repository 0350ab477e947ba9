// SPDX-License-Identifier: Apache-2.0
// The data files that this process has open through liblmdb, and where they are mapped. Its lock
// keeps a map in place while its pages are dropped.
#pragma once

#include <sys/types.h>

#include <mutex>
#include <vector>

namespace hotbackup::lmdb {

struct Mapping {
  dev_t device = 0;
  ino_t inode = 0;
  char* address = nullptr;  // nullptr: not found, its pages are not dropped
  std::size_t bytes = 0;
};

class Mappings {
 public:
  static Mappings& instance();
  std::mutex mutex;
  std::vector<Mapping> open;  // guarded by mutex

  Mapping* find(dev_t device, ino_t inode);
};

/// Where this process maps the file, from /proc/self/maps.
void locate(Mapping& mapping);

}  // namespace hotbackup::lmdb
