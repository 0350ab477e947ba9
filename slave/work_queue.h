// SPDX-License-Identifier: Apache-2.0
// Work that was received and waits for the disk: bounded, so that a fast master cannot fill memory.
#pragma once

#include <deque>
#include <vector>

#include "common/net/signal.h"
#include "slave/receiver_machine.h"

namespace hotbackup::slave {

/// On one executor: one task puts, another takes.
class WorkQueue {
 public:
  static constexpr std::size_t kBytesMax = 2 << 20;

  explicit WorkQueue(asio::any_io_executor executor) : filled_(executor), emptied_(executor) {}

  void put(Work work);
  bool full() const { return bytes_ >= kBytesMax; }
  /// Until it is no longer full.
  asio::awaitable<void> wait_for_room();

  /// Until all that was put has been taken and done.
  asio::awaitable<void> wait_until_idle();

  /// What was taken before is done. Waits until there is work, then takes all that goes together in
  /// one job: frames with frames, parts of a seed with parts, anything else alone.
  asio::awaitable<std::vector<Work>> take();

 private:
  std::deque<Work> items_;
  std::size_t bytes_ = 0;
  bool working_ = false;
  net::Signal filled_;
  net::Signal emptied_;
};

}  // namespace hotbackup::slave
