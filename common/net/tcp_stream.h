// SPDX-License-Identifier: Apache-2.0
// A connected TCP socket, in plain or under TLS: small writes leave at once, and a machine that
// vanished is noticed. Who reads and writes need not know which it is.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/net/tls.h"

namespace hotbackup::net {

/// Lives on one executor. At most one read and one write at a time.
class TcpStream {
 public:
  /// Sets TCP_NODELAY and keepalive on a connected socket.
  explicit TcpStream(asio::ip::tcp::socket socket);
  ~TcpStream();
  TcpStream(TcpStream&&) noexcept;
  TcpStream& operator=(TcpStream&&) noexcept;

  enum class Side { kCaller, kCalled };
  /// Before anything was read or written: from here on everything travels under TLS 1.3. Both sides
  /// show their keys; kRefused when the peer shows none, or one that `knows` does not know. The
  /// caller hears of a refusal of its own key at its first read. After an error only close().
  asio::awaitable<Result<>> secure(std::shared_ptr<TlsIdentity> identity, Side side,
                                   KnowsKey knows);
  /// Whether the caller begins with TLS; reads its first bytes, which secure() and read_some() get
  /// all the same. For a listener that takes both.
  asio::awaitable<Result<bool>> begins_with_tls();

  /// At least one byte; kDisconnected when the peer closed or reset.
  asio::awaitable<Result<std::size_t>> read_some(char* to, std::size_t size);
  /// All of it; `bytes` stay where they are until it returns.
  asio::awaitable<Result<>> write(std::string_view bytes);
  void close();
  /// "127.0.0.1:40312".
  const std::string& peer_address() const { return peer_address_; }
  /// The same without the port.
  const std::string& peer_host() const { return peer_host_; }
  bool peer_is_loopback() const { return peer_is_loopback_; }
  /// Of the key that the peer has proved to hold; empty without TLS.
  std::string peer_fingerprint() const;
  /// 32 bytes that only the two ends of this TLS connection know, the same on both (RFC 9266's
  /// tls-exporter); empty without TLS.
  std::string channel_binding() const;

 private:
  struct Tls;
  asio::ip::tcp::socket socket_;
  std::unique_ptr<Tls> tls_;  // then the socket lies in it
  std::string head_;          // read by begins_with_tls() and not handed out yet
  std::string peer_address_;
  std::string peer_host_;
  bool peer_is_loopback_ = false;
};

}  // namespace hotbackup::net
