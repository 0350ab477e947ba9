// SPDX-License-Identifier: Apache-2.0
// Turns the futex that capturing processes wake into calls on the server's executor.
#pragma once

#include <asio/any_io_executor.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "common/control/group.h"

namespace hotbackup::master {

/// A thread that sleeps until the group's published number may have moved. Borrows the group.
class Waker {
 public:
  /// `on_moved` runs on the executor, never after the Waker's destruction, which happens there too.
  Waker(control::Group& group, asio::any_io_executor executor, std::function<void()> on_moved);
  ~Waker();
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

 private:
  struct Shared {
    std::function<void()> on_moved;
    std::atomic<bool> posted{false};
  };
  void sleep_and_call();

  control::Group& group_;
  asio::any_io_executor executor_;
  std::shared_ptr<Shared> shared_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace hotbackup::master
