// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same on every machine and compiler (the standard's distributions are
// not): SplitMix64.
#pragma once

#include <cstdint>

namespace hotbackup::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// 0 … n-1; n is not 0.
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  /// low … high, both included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }
  bool chance(double probability) {
    return static_cast<double>(next() >> 11) * 0x1p-53 < probability;
  }

 private:
  std::uint64_t state_;
};

}  // namespace hotbackup::test
