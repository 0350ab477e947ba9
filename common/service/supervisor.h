// SPDX-License-Identifier: Apache-2.0
// Keeps one Server running: signals, reload, the service manager's notifications.
#pragma once

#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>

#include "common/net/task_group.h"
#include "common/people/node_watch.h"
#include "common/service/server.h"

namespace hotbackup::service {

/// Lives on the thread that calls run().
class Supervisor {
 public:
  Supervisor(const Program& program, std::string configuration_path, Node node);

  /// Until SIGTERM or SIGINT, or until the server could not be opened. The exit code.
  int run();

 private:
  asio::awaitable<void> main();
  asio::awaitable<void> serve(Server& server);
  asio::awaitable<void> watch_signals();
  asio::awaitable<void> feed_watchdog(std::chrono::microseconds period);
  std::unique_ptr<Server> open(const Node& node);
  bool reload();

  const Program& program_;
  const std::string configuration_path_;
  Node node_;
  asio::io_context io_{1};
  asio::signal_set signals_;
  net::TaskGroup tasks_;
  net::Signal changed_;
  bool stop_ = false;
  bool reload_wanted_ = false;
  bool server_ended_ = false;
  int exit_code_ = 0;
  std::optional<people::NodeWatch> watch_;
};

}  // namespace hotbackup::service
