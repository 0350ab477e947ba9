// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/mappings.h"

#include <cstdint>
#include <cstdio>
#include <memory>

namespace hotbackup::lmdb {

Mappings& Mappings::instance() {
  static Mappings* const mappings = new Mappings;  // outlives every Environment
  return *mappings;
}

Mapping* Mappings::find(dev_t device, ino_t inode) {
  for (Mapping& mapping : open)
    if (mapping.device == device && mapping.inode == inode) return &mapping;
  return nullptr;
}

// By inode alone: some file systems show another device number here than stat does. A wrong match
// would do no harm either, since only shared maps of files count.
void locate(Mapping& mapping) {
  mapping.address = nullptr;
  mapping.bytes = 0;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"),
                                                             std::fclose);
  if (!maps) return;
  char line[4352];
  while (std::fgets(line, sizeof line, maps.get()) != nullptr) {
    unsigned long long from = 0;
    unsigned long long to = 0;
    unsigned long long inode = 0;
    char access[8] = {};
    if (std::sscanf(line, "%llx-%llx %7s %*x %*s %llu", &from, &to, access, &inode) != 4) continue;
    if (access[3] != 's' || inode != mapping.inode || to - from <= mapping.bytes) continue;
    mapping.address = reinterpret_cast<char*>(static_cast<std::uintptr_t>(from));
    mapping.bytes = to - from;
  }
}

}  // namespace hotbackup::lmdb
