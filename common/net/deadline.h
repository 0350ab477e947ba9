// SPDX-License-Identifier: Apache-2.0
// A limit on how long a coroutine may take.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/experimental/parallel_group.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>

#include "common/base/error.h"

namespace hotbackup::net {

/// What `work` returns, or kTimeout with `what` when it took longer; it is cancelled then and has
/// ended when this returns.
inline asio::awaitable<Result<>> within(std::chrono::milliseconds limit, std::string what,
                                        asio::awaitable<Result<>> work) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, limit);
  auto group = asio::experimental::make_parallel_group(
      asio::co_spawn(executor, std::move(work), asio::experimental::deferred),
      timer.async_wait(asio::experimental::deferred));
  auto [order, exception, result, timer_error] = co_await group.async_wait(
      asio::experimental::wait_for_one(), asio::experimental::as_tuple(asio::use_awaitable));
  if (order[0] == 1) co_return fail(ErrorCode::kTimeout, std::move(what));
  if (exception) std::rethrow_exception(exception);
  co_return std::move(result);
}

}  // namespace hotbackup::net
