// SPDX-License-Identifier: Apache-2.0
// What a database holds as a tree of hashes: an item belongs to the leaf that the first bits of its
// key's hash name, and a node is the sum of all items below it. So the order of items plays no part
// (a program's own comparator, another page layout), and one pass fills the tree.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/base/ids.h"

namespace hotbackup::compare {

/// XXH3-128 of the key; and of the value with the key's hash as its seed.
ChainHash hash_key(std::string_view key);
ChainHash hash_item(const ChainHash& key, std::string_view value);
/// Modulo 2^128.
void add(ChainHash& sum, const ChainHash& hash);

class HashTree {
 public:
  static constexpr std::uint32_t kBitsMax = 18;
  static constexpr std::uint32_t kFanBits = 8;
  /// So that a leaf has about a hundred items.
  static std::uint32_t bits_for(std::uint64_t items);

  explicit HashTree(std::uint32_t bits) : bits_(bits), leaves_(std::size_t{1} << bits) {}

  void add_item(const ChainHash& key, const ChainHash& item) {
    add(leaves_[leaf_of(key, bits_)], item);
  }
  static std::uint32_t leaf_of(const ChainHash& key, std::uint32_t bits) {
    return bits == 0 ? 0 : static_cast<std::uint32_t>(key.high >> (64 - bits));
  }

  std::uint32_t bits() const { return bits_; }
  ChainHash root() const { return node(0, 0); }
  /// Of 2^level nodes.
  ChainHash node(std::uint32_t level, std::uint32_t index) const;
  /// The level below.
  static std::uint32_t below(std::uint32_t level, std::uint32_t bits) {
    return level + kFanBits < bits ? level + kFanBits : bits;
  }

 private:
  std::uint32_t bits_;
  std::vector<ChainHash> leaves_;
};

}  // namespace hotbackup::compare
