// SPDX-License-Identifier: Apache-2.0
#include "common/net/tcp_stream.h"

#include <asio/buffer.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <sstream>

namespace hotbackup::net {
namespace {

constexpr auto kNoThrow = asio::experimental::as_tuple(asio::use_awaitable);

Error disconnected(const asio::error_code& error) {
  if (error == asio::error::operation_aborted)
    return Error(ErrorCode::kCancelled, "the link is being closed");
  const std::string why = error == asio::error::eof ? "closed by the peer" : error.message();
  return Error(ErrorCode::kDisconnected, "the connection was lost: " + why, error.value());
}

}  // namespace

TcpStream::TcpStream(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {
  asio::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  std::ostringstream text;
  text << socket_.remote_endpoint(ignored);
  peer_address_ = text.str();
}

asio::awaitable<Result<std::size_t>> TcpStream::read_some(char* to, std::size_t size) {
  auto [error, count] = co_await socket_.async_read_some(asio::buffer(to, size), kNoThrow);
  if (error) co_return fail(disconnected(error));
  co_return count;
}

asio::awaitable<Result<>> TcpStream::write(std::string_view bytes) {
  auto [error, count] =
      co_await asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()), kNoThrow);
  if (error) co_return fail(disconnected(error));
  co_return Result<>();
}

void TcpStream::close() {
  asio::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
}

}  // namespace hotbackup::net
