// SPDX-License-Identifier: Apache-2.0
// Strong types for the numbers that could be mixed up, and the position that names a history.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace hotbackup {

template <class Tag>
struct StrongNumber {
  std::uint64_t value = 0;

  constexpr StrongNumber() = default;
  explicit constexpr StrongNumber(std::uint64_t v) : value(v) {}
  constexpr auto operator<=>(const StrongNumber&) const = default;
  constexpr StrongNumber next() const { return StrongNumber(value + 1); }
  /// The number before; of 0 it is 0.
  constexpr StrongNumber previous() const { return StrongNumber(value == 0 ? 0 : value - 1); }
};

/// Number of an update in its group: 1, 2, 3 …; 0 means none yet.
using UpdateNumber = StrongNumber<struct UpdateNumberTag>;
/// LMDB's transaction id in one environment on one node.
using TxnId = StrongNumber<struct TxnIdTag>;
/// A node, derived from its identity key; 0 is no node.
using NodeId = StrongNumber<struct NodeIdTag>;

/// An environment's number in its group: 1, 2, 3 …; 0 in frames that concern the whole group.
struct EnvironmentNumber {
  std::uint32_t value = 0;
  constexpr EnvironmentNumber() = default;
  explicit constexpr EnvironmentNumber(std::uint32_t v) : value(v) {}
  constexpr auto operator<=>(const EnvironmentNumber&) const = default;
};

/// Counts promotions. The higher counter wins; equal counters of two nodes are a conflict.
struct Epoch {
  std::uint64_t counter = 0;
  NodeId node;
  constexpr bool operator==(const Epoch&) const = default;
};

/// 128 random bits made by the first `init` of a group; all zero means not known yet.
struct GroupId {
  std::array<std::uint8_t, 16> bytes{};
  auto operator<=>(const GroupId&) const = default;
  bool is_none() const { return *this == GroupId{}; }
  std::string to_hex() const;
  static Result<GroupId> from_hex(std::string_view hex);
};

/// XXH3-128 over the header of a frame, which itself carries the hash of the frame before.
struct ChainHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  constexpr bool operator==(const ChainHash&) const = default;
  std::string to_hex() const;
};

/// Names a whole history: two journals that agree in one position agree on everything before it.
/// `chain` is the hash of the last frame of update `number`, all zero at number 0.
struct Position {
  Epoch epoch;
  UpdateNumber number;
  ChainHash chain;
  constexpr bool operator==(const Position&) const = default;
};

}  // namespace hotbackup
