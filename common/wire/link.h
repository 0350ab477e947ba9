// SPDX-License-Identifier: Apache-2.0
// Messages over a TCP stream, in plain or under TLS.
#pragma once

#include "common/net/tcp_stream.h"
#include "common/wire/message.h"

namespace hotbackup::wire {

/// A connection to a peer. Lives on the executor of its stream; one coroutine may receive while
/// another sends.
class Link {
 public:
  explicit Link(net::TcpStream stream) : stream_(std::move(stream)) {}

  /// Before this, only greetings of kGreetingBytesMax are received.
  void handshake_done() { reader_.set_limit(kMessageBytesMax); }

  asio::awaitable<Result<Message>> receive();
  asio::awaitable<Result<>> send(std::string encoded);
  void close() { stream_.close(); }
  const std::string& peer_address() const { return stream_.peer_address(); }

 private:
  net::TcpStream stream_;
  MessageReader reader_;
};

}  // namespace hotbackup::wire
