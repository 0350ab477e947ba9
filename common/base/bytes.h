// SPDX-License-Identifier: Apache-2.0
// Little-endian loads and stores, hexadecimal, and hashes of bytes (XXH3, from xxHash).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.h"

namespace hotbackup {

static_assert(std::endian::native == std::endian::little,
              "formats are little-endian, and INTEGERKEY items are native: one byte order only");

template <class T>
T load_le(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <class T>
void store_le(char* at, T value) {
  std::memcpy(at, &value, sizeof value);
}
inline void store_le64(char* at, std::uint64_t value) {
  store_le(at, value);
}

std::string hex(std::string_view bytes);
std::optional<std::string> unhex(std::string_view digits);

/// Bytes for a person: printable ASCII as it is when all of it is, else 0x….
std::string printable(std::string_view bytes);

std::uint64_t hash64(std::string_view bytes);
ChainHash hash128(std::string_view bytes);

}  // namespace hotbackup
