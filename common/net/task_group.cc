// SPDX-License-Identifier: Apache-2.0
#include "common/net/task_group.h"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/post.hpp>
#include <asio/system_error.hpp>
#include <asio/this_coro.hpp>

#include "common/base/check.h"

namespace hotbackup::net {
namespace {

// Empty for cancellation.
std::string describe(std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const asio::system_error& error) {
    if (error.code() == asio::error::operation_aborted) return {};
    return error.what();
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception of an unknown type";
  }
}

}  // namespace

TaskGroup::~TaskGroup() {
  HOTBACKUP_CHECK(tasks_.empty());
}

void TaskGroup::spawn(asio::awaitable<void> task) {
  const auto place = tasks_.emplace(tasks_.end());
  auto on_end = [this, place](std::exception_ptr exception) { ended(place, exception); };
  asio::co_spawn(executor_, std::move(task),
                 asio::bind_cancellation_slot(place->signal.slot(), on_end));
}

void TaskGroup::ended(std::list<Task>::iterator task, std::exception_ptr exception) {
  if (exception && first_exception_.empty()) first_exception_ = describe(exception);
  // The signal is still in use by the coroutine that calls this.
  task->signal.slot().clear();
  tasks_.erase(task);
  if (end_ == End::kAllTogether) cancel();
  if (tasks_.empty()) ended_.notify();
}

void TaskGroup::cancel() {
  // A task may end inside emit and take itself out of the list.
  for (auto task = tasks_.begin(); task != tasks_.end();) {
    const auto next = std::next(task);
    task->signal.emit(asio::cancellation_type::terminal);
    task = next;
  }
}

asio::awaitable<Result<>> TaskGroup::join() {
  bool cancelled = false;
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!tasks_.empty()) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {
      cancelled = true;
      cancel();
      co_await asio::this_coro::reset_cancellation_state();
    }
    if (!tasks_.empty()) co_await ended_.wait_for(std::chrono::hours(1));
  }
  co_await asio::this_coro::throw_if_cancelled(true);
  if (cancelled) co_return fail(ErrorCode::kCancelled, "cancelled");
  if (!first_exception_.empty()) co_return fail(ErrorCode::kIo, first_exception_);
  co_return Result<>();
}

}  // namespace hotbackup::net
