// SPDX-License-Identifier: Apache-2.0
#include "common/net/signal.h"

#include <asio/experimental/as_tuple.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

namespace hotbackup::net {

asio::awaitable<void> Signal::wait_until(asio::steady_timer::time_point end) {
  while (!raised_) {
    timer_.expires_at(end);
    auto [error] = co_await timer_.async_wait(asio::experimental::as_tuple(asio::use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (!error || state.cancelled() != asio::cancellation_type::none) co_return;
  }
  raised_ = false;
}

asio::awaitable<void> Signal::wait() {
  return wait_until(asio::steady_timer::time_point::max());
}

asio::awaitable<void> Signal::wait_for(std::chrono::milliseconds time) {
  return wait_until(asio::steady_timer::clock_type::now() + time);
}

}  // namespace hotbackup::net
