// SPDX-License-Identifier: Apache-2.0
#include "slave/work_queue.h"

namespace hotbackup::slave {
namespace {

std::size_t bytes_of(const Work& work) {
  if (const auto* frames = std::get_if<CheckedFrames>(&work)) return frames->frames.size();
  if (const auto* part = std::get_if<wire::SeedPart>(&work)) return part->body.size();
  return 0;
}

bool goes_together(const Work& a, const Work& b) {
  return a.index() == b.index() &&
         (std::holds_alternative<CheckedFrames>(a) || std::holds_alternative<wire::SeedPart>(a));
}

}  // namespace

void WorkQueue::put(Work work) {
  bytes_ += bytes_of(work);
  items_.push_back(std::move(work));
  filled_.notify();
}

asio::awaitable<void> WorkQueue::wait_for_room() {
  while (full()) co_await emptied_.wait();
}

asio::awaitable<void> WorkQueue::wait_until_idle() {
  while (working_ || !items_.empty()) co_await emptied_.wait();
}

asio::awaitable<std::vector<Work>> WorkQueue::take() {
  working_ = false;
  emptied_.notify();
  while (items_.empty()) co_await filled_.wait();
  working_ = true;
  std::vector<Work> taken;
  do {
    bytes_ -= bytes_of(items_.front());
    taken.push_back(std::move(items_.front()));
    items_.pop_front();
  } while (!items_.empty() && goes_together(taken.front(), items_.front()));
  emptied_.notify();
  co_return taken;
}

}  // namespace hotbackup::slave
