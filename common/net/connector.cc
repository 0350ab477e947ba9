// SPDX-License-Identifier: Apache-2.0
#include "common/net/connector.h"

#include <algorithm>
#include <asio/connect.hpp>

#include "common/net/deadline.h"

namespace hotbackup::net {
namespace {

using asio::ip::tcp;

constexpr auto kNoThrow = asio::experimental::as_tuple(asio::use_awaitable);

std::string address_text(const std::string& host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

asio::awaitable<Result<>> connect_unlimited(std::string host, std::uint16_t port,
                                            std::optional<TcpStream>& stream) {
  const auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  auto [resolve_error, endpoints] =
      co_await resolver.async_resolve(host, std::to_string(port), kNoThrow);
  if (resolve_error)
    co_return fail(ErrorCode::kDisconnected,
                   "cannot find the address of " + host + ": " + resolve_error.message());
  tcp::socket socket(executor);
  auto [error, endpoint] = co_await asio::async_connect(socket, endpoints, kNoThrow);
  if (error)
    co_return fail(ErrorCode::kDisconnected,
                   "cannot reach " + address_text(host, port) + ": " + error.message(),
                   error.value());
  stream.emplace(std::move(socket));
  co_return Result<>();
}

}  // namespace

std::chrono::milliseconds Backoff::next() {
  std::uniform_int_distribution<std::int64_t> spread(pause_.count() / 2, pause_.count());
  const std::chrono::milliseconds pause(spread(random_));
  pause_ = std::min(pause_ * 2, kLongest);
  return pause;
}

asio::awaitable<Result<>> connect(std::string host, std::uint16_t port,
                                  std::chrono::milliseconds limit,
                                  std::optional<TcpStream>& stream) {
  std::string late = "no answer from " + address_text(host, port);
  return within(limit, std::move(late), connect_unlimited(std::move(host), port, stream));
}

}  // namespace hotbackup::net
