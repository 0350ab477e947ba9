// SPDX-License-Identifier: Apache-2.0
#include "common/people/channel.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

namespace hotbackup::people {

Channel::Channel(config::Notify entry, std::optional<config::Address> smtp)
    : teller_(std::move(entry)), smtp_(std::move(smtp)), thread_([this] { deliver(); }) {}

Channel::~Channel() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

std::chrono::seconds Channel::pause_after(std::uint32_t attempts) {
  constexpr std::chrono::seconds kFirst{5};
  constexpr std::chrono::seconds kLongest{3600};
  return std::min(kFirst * (1 << std::min(attempts > 0 ? attempts - 1 : 0U, 10U)), kLongest);
}

void Channel::deliver() {
  ::pthread_setname_np(::pthread_self(), "notify");
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || job_.has_value(); });
    if (stop_) return;
    const std::string message = *job_;
    lock.unlock();
    Result<> sent = send(to(), message, smtp_, stop_);
    lock.lock();
    job_.reset();
    result_ = std::move(sent);
  }
}

void Channel::finish(catalogue::Catalogue& catalogue, WallTime now) {
  Result<> result;
  {
    const std::lock_guard guard(mutex_);
    if (!result_) return;
    result = std::move(*result_);
    result_.reset();
  }
  busy_ = false;
  catalogue::DeliveryRecord& delivery = waiting_.front();
  if (result) {
    trouble_.clear();
  } else {
    trouble_ = result.error().text();
    ++delivery.attempts;
    delivery.next = now + pause_after(delivery.attempts);
    spdlog::warn("notify {}: {} (try {})", name_of(to()), trouble_, delivery.attempts);
    if (delivery.attempts < kAttemptsMax) {
      if (delivery.id != 0) (void)catalogue.keep(delivery);
      return;
    }
    spdlog::error("notify {}: given up: {}", name_of(to()), delivery.message);
  }
  if (delivery.id != 0) (void)catalogue.drop_delivery(delivery.id);
  waiting_.pop_front();
  // The others waited for this one; whether they get through is known now.
  if (result)
    for (catalogue::DeliveryRecord& other : waiting_) other.next = now;
}

void Channel::work(catalogue::Catalogue& catalogue, const std::string& node, WallTime now) {
  if (busy_) finish(catalogue, now);
  if (const std::vector<Notice> notices = teller_.take(now); !notices.empty()) {
    catalogue::DeliveryRecord delivery;
    delivery.to = to();
    delivery.message = make_message(node, notices, now);
    delivery.made = delivery.next = now;
    (void)catalogue.keep(delivery);  // a full disk keeps nobody from being told
    waiting_.push_back(std::move(delivery));
    if (waiting_.size() > kWaitingMax) {
      const auto oldest = busy_ ? std::next(waiting_.begin()) : waiting_.begin();
      spdlog::error("notify {}: too many wait, given up: {}", name_of(to()), oldest->message);
      if (oldest->id != 0) (void)catalogue.drop_delivery(oldest->id);
      waiting_.erase(oldest);
    }
  }
  if (busy_ || waiting_.empty() || waiting_.front().next > now) return;
  busy_ = true;
  {
    const std::lock_guard guard(mutex_);
    job_ = waiting_.front().message;
  }
  changed_.notify_one();
}

}  // namespace hotbackup::people
