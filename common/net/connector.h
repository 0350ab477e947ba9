// SPDX-License-Identifier: Apache-2.0
// Dialling, and the growing pauses between attempts.
#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>

#include "common/net/tcp_stream.h"

namespace hotbackup::net {

/// Pauses of 100 ms, 200 ms … 10 s, each taken somewhere between half of it and all of it, so that
/// nodes which lost the same link do not call in step.
class Backoff {
 public:
  static constexpr std::chrono::milliseconds kFirst{100};
  static constexpr std::chrono::milliseconds kLongest{10'000};

  explicit Backoff(std::uint64_t seed = std::random_device{}()) : random_(seed) {}

  std::chrono::milliseconds next();
  /// After a link that worked.
  void reset() { pause_ = kFirst; }

 private:
  std::mt19937_64 random_;
  std::chrono::milliseconds pause_ = kFirst;
};

/// Tries every address that `host` stands for. kDisconnected when none answers, kTimeout.
asio::awaitable<Result<>> connect(std::string host, std::uint16_t port,
                                  std::chrono::milliseconds limit,
                                  std::optional<TcpStream>& stream);

}  // namespace hotbackup::net
