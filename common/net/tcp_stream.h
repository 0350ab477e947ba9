// SPDX-License-Identifier: Apache-2.0
// A connected TCP socket: small writes leave at once, and a machine that vanished is noticed.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace hotbackup::net {

/// Lives on one executor. At most one read and one write at a time.
class TcpStream {
 public:
  /// Sets TCP_NODELAY and keepalive on a connected socket.
  explicit TcpStream(asio::ip::tcp::socket socket);

  /// At least one byte; kDisconnected when the peer closed or reset.
  asio::awaitable<Result<std::size_t>> read_some(char* to, std::size_t size);
  /// All of it; `bytes` stay where they are until it returns.
  asio::awaitable<Result<>> write(std::string_view bytes);
  void close();
  /// "127.0.0.1:40312".
  const std::string& peer_address() const { return peer_address_; }

 private:
  asio::ip::tcp::socket socket_;
  std::string peer_address_;
};

}  // namespace hotbackup::net
