// SPDX-License-Identifier: Apache-2.0
// A flag that one coroutine waits for and code on the same executor raises.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>

namespace hotbackup::net {

/// One waiter at a time; notifying before the wait is not lost. Everything on one executor.
class Signal {
 public:
  explicit Signal(asio::any_io_executor executor) : timer_(std::move(executor)) {}

  void notify() {
    raised_ = true;
    timer_.cancel();
  }

  /// Until it was notified, the time is over, or the waiter is cancelled. Lowers the flag.
  asio::awaitable<void> wait();
  asio::awaitable<void> wait_for(std::chrono::milliseconds time);

 private:
  asio::awaitable<void> wait_until(asio::steady_timer::time_point end);

  asio::steady_timer timer_;
  bool raised_ = false;
};

}  // namespace hotbackup::net
