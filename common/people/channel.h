// SPDX-License-Identifier: Apache-2.0
// One entry of the notify list at work: what it is to be told, and a thread that delivers it, so
// that one that hangs keeps no other waiting.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

#include "common/people/message.h"

namespace hotbackup::people {

/// Lives on the thread of the watch, but for its own thread, which only sends.
class Channel {
 public:
  Channel(config::Notify entry, std::optional<config::Address> smtp);
  /// Breaks off the message that is just being sent: the next watch sends it again.
  ~Channel();

  Teller& teller() { return teller_; }
  const std::string& to() const { return teller_.entry().to; }

  /// Queues one that was not delivered by the last watch.
  void resume(catalogue::DeliveryRecord delivery) { waiting_.push_back(std::move(delivery)); }

  /// Queues what the teller has, tries what is due, and takes in how the last try went. What
  /// waits is in the catalogue. Does not block.
  void work(catalogue::Catalogue& catalogue, const std::string& node, WallTime now);

  /// Why nothing is delivered; empty when the last try worked.
  const std::string& trouble() const { return trouble_; }

  /// After so many tries; then it is given up. More wait than this: the oldest is given up.
  static constexpr std::uint32_t kAttemptsMax = 60;
  static constexpr std::size_t kWaitingMax = 200;
  /// "5 s" after the first failure, then twice as long each time, an hour at most.
  static std::chrono::seconds pause_after(std::uint32_t attempts);

 private:
  void deliver();
  void finish(catalogue::Catalogue& catalogue, WallTime now);

  Teller teller_;
  const std::optional<config::Address> smtp_;
  std::list<catalogue::DeliveryRecord> waiting_;  // oldest first; the front is being tried
  std::string trouble_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> stop_ = false;
  // Guarded by mutex_.
  std::optional<std::string> job_;  // the message to send
  std::optional<Result<>> result_;  // of the last one

  bool busy_ = false;  // a job is given, its result not taken
  std::thread thread_;
};

}  // namespace hotbackup::people
