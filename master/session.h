// SPDX-License-Identifier: Apache-2.0
// One link to one slave: carries bytes, time and disk work for a SenderMachine.
#pragma once

#include <memory>
#include <optional>

#include "common/config/configuration.h"
#include "common/control/group.h"
#include "common/journal/reader.h"
#include "common/net/task_group.h"
#include "common/net/worker.h"
#include "common/os/process.h"
#include "common/wire/link.h"
#include "master/fetch_source.h"
#include "master/sender_machine.h"

namespace hotbackup::master {

/// What the sessions of a group share. Borrowed; outlives them.
struct GroupContext {
  asio::any_io_executor executor;
  control::Group& group;
  const config::Group& configuration;
  std::string node_name;
  NodeId node;
  net::Worker& disk;  // looks into the journal
  std::shared_ptr<net::TlsIdentity> key;
};

/// Lives on the server's executor from a connection to its end. Several tasks share the machine;
/// the first that fails ends all.
class Session {
 public:
  Session(const GroupContext& context, control::PeerEntry& entry, net::TcpStream stream);

  /// Until the link is over; the error says why. Never returns success; kCancelled when the caller
  /// was cancelled.
  asio::awaitable<Result<>> run();
  /// The published number may have moved.
  void published_moved() { feed_.notify(); }
  /// The slave has no claim on the journal any more: the link ends.
  void release() {
    released_ = true;
    feed_.notify();
  }
  /// Before run(): the most that a seed may send in a second.
  void limit_rate(std::optional<std::uint64_t> bytes_per_second) { rate_ = bytes_per_second; }
  /// It has streamed for a check period: the pause before the next call may be short again.
  bool worked() const;
  /// The slave has given up what only it had: the next link streams.
  bool rewound() const { return machine_.rewound(); }

 private:
  SenderMachine::Options machine_options() const;
  asio::awaitable<void> receive_loop();
  asio::awaitable<void> send_loop();
  asio::awaitable<void> feed_loop();
  asio::awaitable<void> tick_loop();
  asio::awaitable<void> pause_after_failure();
  asio::awaitable<Result<>> feed();
  asio::awaitable<Result<>> idle();
  asio::awaitable<Result<>> released();
  asio::awaitable<Result<>> compare();
  asio::awaitable<Result<>> probe();
  asio::awaitable<Result<>> answer_fetch();
  asio::awaitable<Result<>> wait_for_capture();
  asio::awaitable<void> keep_to_rate(SenderMachine::Time begun, std::uint64_t bytes);
  void note_clock(const wire::Welcome& welcome);
  asio::awaitable<Result<>> seed();
  asio::awaitable<Result<>> stream();
  asio::awaitable<Result<>> begin_streaming();
  asio::awaitable<Result<>> send_rest();
  Result<> read_ahead();
  void note_numbers();
  void hear_refusal();
  void end(Error error);

  const GroupContext& context_;
  control::PeerEntry& entry_;
  const std::uint32_t rules_ticket_;  // of the keep-local rules that the slave is told
  wire::Link link_;
  SenderMachine machine_;
  net::Worker seed_worker_;
  net::Signal output_;
  net::Signal feed_;
  net::Signal pause_;
  std::unique_ptr<journal::Reader> reader_;
  std::optional<Error> error_;
  UpdateNumber seeded_at_;                     // of the seed this link began with
  std::unique_ptr<FetchSource> fetch_source_;  // seed_worker_'s
  bool searching_ = false;                     // for the last common position
  std::optional<std::uint64_t> rate_;
  const std::int64_t begun_ns_ = os::boottime_ns();  // before the hello is sent
  const WallTime greeted_;                           // the time in the hello
  bool released_ = false;
  bool found_whole_ = false;  // everything published could be read
  std::optional<SenderMachine::Time> streaming_since_;
};

}  // namespace hotbackup::master
