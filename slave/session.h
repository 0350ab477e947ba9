// SPDX-License-Identifier: Apache-2.0
// One link from one master: carries bytes, time and disk work for a ReceiverMachine.
#pragma once

#include <functional>
#include <optional>

#include "common/control/group.h"
#include "common/net/task_group.h"
#include "common/wire/link.h"
#include "slave/group_service.h"
#include "slave/receiver_machine.h"
#include "slave/work_queue.h"

namespace hotbackup::slave {

/// What the server does for its sessions.
struct Hosts {
  /// The service of the group that a caller names, or why there is none for it.
  std::function<tl::expected<GroupService*, Refusal>(const wire::Hello& hello)> find_group;
  /// A question instead of a hello.
  std::function<asio::awaitable<wire::Answer>(wire::Ask ask)> answer;
  /// Logs a caller that came to nothing.
  std::function<void(const std::string& why)> note_stranger;
};

/// Lives on the server's executor from an accepted connection to its end. Several tasks share the
/// machine; the first that fails ends all.
class Session {
 public:
  Session(asio::any_io_executor executor, Hosts hosts, net::TcpStream stream);

  /// Until the link is over; logs why.
  asio::awaitable<void> run();
  /// From outside: another link takes over, or the group goes.
  void stop(Error why);
  /// The copies show everything through this number.
  void applied(UpdateNumber number);

 private:
  asio::awaitable<void> receive_loop();
  asio::awaitable<void> answer_questions(wire::Ask ask);
  asio::awaitable<void> finish_work(Error why);
  asio::awaitable<void> send_loop();
  asio::awaitable<void> work_loop();
  asio::awaitable<void> tick_loop();
  asio::awaitable<Result<>> greet(wire::Hello hello);
  asio::awaitable<Result<>> perform(std::vector<Work> work);
  asio::awaitable<Result<>> rejoin(Work work);
  asio::awaitable<Result<>> send_rest();
  asio::awaitable<Result<>> receive_into(Result<wire::Message>& message);
  Error refuse(const Refusal& why);
  void finish();
  void note_numbers();
  void end(Error error);

  const asio::any_io_executor executor_;
  const Hosts hosts_;
  wire::Link link_;
  ReceiverMachine machine_;
  WorkQueue queue_;
  net::TaskGroup tasks_;
  net::Signal output_;
  GroupService* service_ = nullptr;  // after admission
  control::PeerEntry* entry_ = nullptr;
  const WallTime accepted_;
  std::optional<std::uint32_t> rules_ticket_;  // of the keep-local rules that were compared
  bool asked_ = false;                         // questions instead of a hello
  std::optional<Error> error_;
};

}  // namespace hotbackup::slave
