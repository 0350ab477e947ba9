// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/hash_tree.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>

namespace hotbackup::compare {

ChainHash hash_key(std::string_view key) {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return {hash.low64, hash.high64};
}

ChainHash hash_item(const ChainHash& key, std::string_view value) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(value.data(), value.size(), key.low);
  return {hash.low64, hash.high64 + key.high};
}

void add(ChainHash& sum, const ChainHash& hash) {
  sum.low += hash.low;
  sum.high += hash.high + (sum.low < hash.low ? 1 : 0);
}

std::uint32_t HashTree::bits_for(std::uint64_t items) {
  const auto bits = static_cast<std::uint32_t>(std::bit_width(items / 128));
  return bits < kBitsMax ? bits : kBitsMax;
}

ChainHash HashTree::node(std::uint32_t level, std::uint32_t index) const {
  ChainHash sum;
  const std::uint32_t width = bits_ - level;
  const std::size_t end = (std::size_t{index} + 1) << width;
  for (std::size_t leaf = std::size_t{index} << width; leaf < end && leaf < leaves_.size(); ++leaf)
    add(sum, leaves_[leaf]);
  return sum;
}

}  // namespace hotbackup::compare
