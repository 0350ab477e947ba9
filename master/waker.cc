// SPDX-License-Identifier: Apache-2.0
#include "master/waker.h"

#include <pthread.h>

#include <asio/post.hpp>

namespace hotbackup::master {

Waker::Waker(control::Group& group, asio::any_io_executor executor, std::function<void()> on_moved)
    : group_(group), executor_(std::move(executor)), shared_(std::make_shared<Shared>()) {
  shared_->on_moved = std::move(on_moved);
  thread_ = std::thread([this] { sleep_and_call(); });
}

Waker::~Waker() {
  shared_->on_moved = nullptr;
  stop_.store(true);
  group_.notify_published();
  thread_.join();
}

void Waker::sleep_and_call() {
  ::pthread_setname_np(::pthread_self(), "waker");
  while (!stop_.load()) {
    const std::uint32_t ticket = group_.published_ticket();
    // One call is enough for all that moves until it runs.
    if (!shared_->posted.exchange(true)) {
      asio::post(executor_, [shared = shared_] {
        shared->posted.store(false);
        if (shared->on_moved) shared->on_moved();
      });
    }
    group_.wait_published(ticket, std::chrono::milliseconds(500));
  }
}

}  // namespace hotbackup::master
