// SPDX-License-Identifier: Apache-2.0
#include "common/net/tcp_stream.h"

#include <asio/buffer.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/read.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <sstream>

namespace hotbackup::net {
namespace {

using asio::ip::tcp;

constexpr auto kNoThrow = asio::experimental::as_tuple(asio::use_awaitable);
constexpr std::size_t kHeadBytes = 3;

Error disconnected(const asio::error_code& error) {
  if (error == asio::error::operation_aborted)
    return Error(ErrorCode::kCancelled, "the link is being closed");
  const std::string why = error == asio::error::eof ? "closed by the peer" : error.message();
  return Error(ErrorCode::kDisconnected, "the connection was lost: " + why, error.value());
}

bool is_loopback(asio::ip::address address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  return address.is_loopback();
}

}  // namespace

struct TcpStream::Tls {
  Tls(tcp::socket socket, std::shared_ptr<TlsIdentity> shown)
      : identity(std::move(shown)), stream(std::move(socket), identity->context()) {}

  const std::shared_ptr<TlsIdentity> identity;
  KeyCheck check;  // outlives the stream
  asio::ssl::stream<tcp::socket> stream;
};

TcpStream::TcpStream(tcp::socket socket) : socket_(std::move(socket)) {
  asio::error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  const tcp::endpoint peer = socket_.remote_endpoint(ignored);
  std::ostringstream text;
  text << peer;
  peer_address_ = text.str();
  peer_host_ = peer.address().to_string();
  peer_is_loopback_ = is_loopback(peer.address());
}

TcpStream::~TcpStream() = default;
TcpStream::TcpStream(TcpStream&&) noexcept = default;
TcpStream& TcpStream::operator=(TcpStream&&) noexcept = default;

asio::awaitable<Result<>> TcpStream::secure(std::shared_ptr<TlsIdentity> identity, Side side,
                                            KnowsKey knows) {
  tls_ = std::make_unique<Tls>(std::move(socket_), std::move(identity));
  tls_->check.knows = std::move(knows);
  attach(tls_->check, tls_->stream.native_handle());
  const auto type =
      side == Side::kCaller ? asio::ssl::stream_base::client : asio::ssl::stream_base::server;
  const std::string head = std::move(head_);
  head_.clear();
  // The form without a buffer for the caller: it has nothing to hand in, and speaks first.
  asio::error_code error;
  if (head.empty()) {
    auto [failed] = co_await tls_->stream.async_handshake(type, kNoThrow);
    error = failed;
  } else {
    auto [failed, used] = co_await tls_->stream.async_handshake(type, asio::buffer(head), kNoThrow);
    error = failed;
  }
  if (error) co_return fail(tls_error(error, tls_->check));
  co_return Result<>();
}

// A message without TLS begins with its length, at most kGreetingBytesMax in four bytes of which
// the first is the lowest: the third is 0, or 1 after two zeros. A TLS record begins with 22, 3, 1
// or 3.
asio::awaitable<Result<bool>> TcpStream::begins_with_tls() {
  char head[kHeadBytes];
  auto [error, count] = co_await asio::async_read(socket_, asio::buffer(head), kNoThrow);
  if (error) co_return fail(disconnected(error));
  head_.assign(head, count);
  co_return head[0] == 0x16 && head[1] == 0x03 && head[2] != 0;
}

asio::awaitable<Result<std::size_t>> TcpStream::read_some(char* to, std::size_t size) {
  if (tls_ != nullptr) {
    auto [error, count] = co_await tls_->stream.async_read_some(asio::buffer(to, size), kNoThrow);
    if (error) co_return fail(tls_error(error, tls_->check));
    co_return count;
  }
  if (!head_.empty()) {
    const std::size_t count = head_.copy(to, size);
    head_.erase(0, count);
    co_return count;
  }
  auto [error, count] = co_await socket_.async_read_some(asio::buffer(to, size), kNoThrow);
  if (error) co_return fail(disconnected(error));
  co_return count;
}

asio::awaitable<Result<>> TcpStream::write(std::string_view bytes) {
  const auto buffer = asio::buffer(bytes.data(), bytes.size());
  if (tls_ != nullptr) {
    auto [error, count] = co_await asio::async_write(tls_->stream, buffer, kNoThrow);
    if (error) co_return fail(tls_error(error, tls_->check));
    co_return Result<>();
  }
  auto [error, count] = co_await asio::async_write(socket_, buffer, kNoThrow);
  if (error) co_return fail(disconnected(error));
  co_return Result<>();
}

// Without TLS's goodbye: no message means anything but what it says, so a cut link says nothing.
void TcpStream::close() {
  tcp::socket& socket = tls_ != nullptr ? tls_->stream.next_layer() : socket_;
  asio::error_code ignored;
  socket.shutdown(tcp::socket::shutdown_both, ignored);
  socket.close(ignored);
}

std::string TcpStream::peer_fingerprint() const {
  return tls_ != nullptr && tls_->check.known ? tls_->check.fingerprint : std::string();
}

std::string TcpStream::channel_binding() const {
  constexpr std::string_view kLabel = "EXPORTER-Channel-Binding";
  if (tls_ == nullptr) return {};
  std::string bytes(32, '\0');
  const int done = SSL_export_keying_material(
      tls_->stream.native_handle(), reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(),
      kLabel.data(), kLabel.size(), nullptr, 0, 1);
  return done == 1 ? bytes : std::string();
}

}  // namespace hotbackup::net
