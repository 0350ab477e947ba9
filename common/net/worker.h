// SPDX-License-Identifier: Apache-2.0
// A named thread for blocking work: journal syncs, LMDB, seeds.
#pragma once

#include <pthread.h>

#include <asio/any_io_executor.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <optional>
#include <string>
#include <type_traits>

namespace hotbackup::net {

/// One thread that runs jobs in order. Its destructor waits for them.
class Worker {
 public:
  /// `name` as seen in `top -H`; at most 15 characters.
  explicit Worker(std::string name) : pool_(1) {
    asio::post(pool_,
               [name = std::move(name)] { ::pthread_setname_np(::pthread_self(), name.c_str()); });
  }
  ~Worker() { pool_.join(); }

  /// Runs `job` on the thread and returns what it returns. Cancelling the caller does not shorten
  /// the wait: the job may use what the caller owns. `job` must not throw. Jobs are plain
  /// functions: they never touch what belongs to the caller's executor while it may run.
  template <class Job>
  asio::awaitable<std::invoke_result_t<Job>> run(Job job) {
    std::optional<std::invoke_result_t<Job>> result;
    co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(
        Start<Job>{pool_, job, result}, asio::use_awaitable);
    co_return std::move(*result);
  }

 private:
  template <class Job>
  struct Start {
    asio::thread_pool& pool;
    Job& job;
    std::optional<std::invoke_result_t<Job>>& result;

    template <class Handler>
    void operator()(Handler handler) {
      auto home = asio::make_work_guard(handler);
      asio::post(pool, [&j = job, &r = result, guard = std::move(home),
                        done = std::move(handler)]() mutable {
        r.emplace(j());
        const auto executor = guard.get_executor();
        asio::post(executor, std::move(done));
      });
    }
  };

  asio::thread_pool pool_;
};

}  // namespace hotbackup::net
