// SPDX-License-Identifier: Apache-2.0
// The owner of coroutines: none runs without one, so that every end is seen and shutdown is an
// order of joins. docs: common/net/README.md.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <list>
#include <string>

#include "common/base/error.h"
#include "common/net/signal.h"

namespace hotbackup::net {

/// Lives on one executor (one thread). Is destroyed only after join(), or empty.
class TaskGroup {
 public:
  enum class End {
    kEachAlone,    // a task that ends leaves the others running
    kAllTogether,  // the first task that ends cancels the others
  };

  explicit TaskGroup(asio::any_io_executor executor, End end = End::kEachAlone)
      : executor_(executor), end_(end), ended_(executor) {}
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void spawn(asio::awaitable<void> task);
  /// Asks all tasks to end: their present or next wait throws operation_aborted.
  void cancel();
  bool empty() const { return tasks_.empty(); }

  /// Until all tasks have ended. When the caller is cancelled meanwhile it cancels the tasks, still
  /// waits for them, and returns kCancelled; the caller may then await what it needs to clean up,
  /// and ends. Another error is that of the first task which ended by an exception. A caller that
  /// may have been cancelled already says `co_await asio::this_coro::throw_if_cancelled(false)`
  /// before it awaits this.
  asio::awaitable<Result<>> join();

 private:
  struct Task {
    asio::cancellation_signal signal;
  };
  void ended(std::list<Task>::iterator task, std::exception_ptr exception);

  asio::any_io_executor executor_;
  const End end_;
  std::list<Task> tasks_;
  Signal ended_;
  std::string first_exception_;
};

}  // namespace hotbackup::net
