// SPDX-License-Identifier: Apache-2.0
// Accepting connections.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "common/net/tcp_stream.h"

namespace hotbackup::net {

/// A listening socket. Lives on one executor.
class Listener {
 public:
  /// Port 0: the system chooses one. The error says which address and why, and that another
  /// program has the port when that is the reason. Resolves names, which may block.
  static Result<Listener> open(asio::any_io_executor executor, const std::string& host,
                               std::uint16_t port);

  /// The next connection. Waits a moment and goes on when the system is short of descriptors.
  asio::awaitable<Result<>> accept(std::optional<TcpStream>& stream);
  std::uint16_t port() const { return port_; }

 private:
  Listener(asio::ip::tcp::acceptor acceptor, std::uint16_t port)
      : acceptor_(std::move(acceptor)), port_(port) {}
  asio::ip::tcp::acceptor acceptor_;
  std::uint16_t port_;
};

}  // namespace hotbackup::net
