// SPDX-License-Identifier: Apache-2.0
#include "common/control/shared_text.h"

#include <algorithm>
#include <cstring>

namespace hotbackup::control {

void copy_text(char* to, std::size_t size, std::string_view text) {
  const std::size_t length = std::min(size - 1, text.size());
  std::memcpy(to, text.data(), length);
  std::memset(to + length, 0, size - length);
}

std::string read_guarded(const std::atomic<std::uint32_t>& sequence, const char* text,
                         std::size_t size) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::uint32_t before = sequence.load();
    if (before % 2 != 0) continue;
    std::string copy(text, ::strnlen(text, size));
    if (sequence.load() == before) return copy;
  }
  return {};
}

void write_guarded(std::atomic<std::uint32_t>& sequence, char* text, std::size_t size,
                   std::string_view value) {
  sequence.fetch_add(sequence.load() % 2 == 0 ? 1 : 2);
  copy_text(text, size, value);
  sequence.fetch_add(1);
}

}  // namespace hotbackup::control
