// SPDX-License-Identifier: Apache-2.0
#include "common/lmdb/resident_limit.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "common/lmdb/mappings.h"
#include "common/os/unique_fd.h"

namespace hotbackup::lmdb {
namespace {

// A process that writes as fast as memory allows touches some megabytes in this time.
constexpr std::chrono::milliseconds kLookEvery{2};

std::size_t resident_bytes() {
  static const os::UniqueFd statm(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  static const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  char text[128] = {};
  if (::pread(statm.get(), text, sizeof text - 1, 0) <= 0) return 0;
  char* after_size = nullptr;
  std::strtoull(text, &after_size, 10);
  return std::strtoull(after_size, nullptr, 10) * page_bytes;
}

}  // namespace

void trim_resident(std::size_t bytes_max) {
  if (resident_bytes() <= bytes_max) return;
  Mappings& mappings = Mappings::instance();
  const std::lock_guard guard(mappings.mutex);
  for (const Mapping& mapping : mappings.open)
    if (mapping.address != nullptr) ::madvise(mapping.address, mapping.bytes, MADV_DONTNEED);
}

ResidentLimit::ResidentLimit(std::size_t bytes_max)
    : thread_([this, bytes_max] {
        std::unique_lock lock(mutex_);
        while (!stopping_) {
          wake_.wait_for(lock, kLookEvery);
          trim_resident(bytes_max);
        }
      }) {}

ResidentLimit::~ResidentLimit() {
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

}  // namespace hotbackup::lmdb
