// SPDX-License-Identifier: Apache-2.0
#include "common/net/listener.h"

#include <asio/experimental/as_tuple.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

namespace hotbackup::net {
namespace {

using asio::ip::tcp;

constexpr auto kNoThrow = asio::experimental::as_tuple(asio::use_awaitable);

tl::unexpected<Error> cannot_listen(const std::string& host, std::uint16_t port,
                                    const asio::error_code& error) {
  const bool v6 = host.find(':') != std::string::npos;
  std::string why = error.message();
  if (error == asio::error::address_in_use) why = "the port is in use by another program";
  return fail(ErrorCode::kIo,
              "cannot listen on " + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port) +
                  ": " + why,
              error.value());
}

}  // namespace

Result<Listener> Listener::open(asio::any_io_executor executor, const std::string& host,
                                std::uint16_t port) {
  asio::error_code error;
  tcp::resolver resolver(executor);
  const auto endpoints =
      resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || endpoints.empty()) return cannot_listen(host, port, error);
  const tcp::endpoint endpoint = endpoints.begin()->endpoint();
  tcp::acceptor acceptor(executor);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return cannot_listen(host, port, error);
  const std::uint16_t bound = acceptor.local_endpoint(error).port();
  return Listener(std::move(acceptor), bound);
}

asio::awaitable<Result<>> Listener::accept(std::optional<TcpStream>& stream) {
  const auto executor = co_await asio::this_coro::executor;
  while (true) {
    tcp::socket socket(executor);
    auto [error] = co_await acceptor_.async_accept(socket, kNoThrow);
    if (!error) {
      stream.emplace(std::move(socket));
      co_return Result<>();
    }
    if (error == asio::error::operation_aborted)
      co_return fail(ErrorCode::kCancelled, "the listener is being closed");
    if (error == asio::error::bad_descriptor) co_return fail(ErrorCode::kIo, error.message());
    asio::steady_timer pause(executor, std::chrono::milliseconds(100));
    co_await pause.async_wait(kNoThrow);
  }
}

}  // namespace hotbackup::net
