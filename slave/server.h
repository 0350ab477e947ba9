// SPDX-License-Identifier: Apache-2.0
// hotbackup-slave: listens, and serves every configured group of which this node is slave.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>

#include "common/net/listener.h"
#include "common/net/task_group.h"
#include "common/net/worker.h"
#include "common/roles/respond.h"
#include "common/service/doorkeeper.h"
#include "common/service/server.h"
#include "slave/group_service.h"
#include "slave/session.h"

namespace hotbackup::slave {

class Server final : public service::Server {
 public:
  Server(asio::io_context& io, const service::Node& node)
      : node_(node),
        executor_(io.get_executor()),
        door_(node_, [this](const std::string& why) { raise_stranger(why); }),
        sessions_(executor_),
        responder_(node_.configuration, service::program_version()) {}

  Result<> open() override;
  asio::awaitable<void> run() override;

 private:
  asio::awaitable<void> accept_calls();
  asio::awaitable<void> forget_strangers();
  asio::awaitable<void> answer(net::TcpStream stream);
  asio::awaitable<void> serve(const config::Group& group);
  tl::expected<GroupService*, Refusal> find(const wire::Hello& hello, const std::string& shown);
  void raise_stranger(const std::string& why);
  asio::awaitable<wire::Answer> answer_question(wire::Ask ask, const std::string& shown);

  const service::Node node_;
  asio::any_io_executor executor_;
  std::optional<net::Listener> listener_;
  std::map<std::string, std::unique_ptr<GroupService>> services_;  // those made here
  service::Doorkeeper door_;
  std::chrono::steady_clock::time_point last_stranger_;
  net::TaskGroup sessions_;
  roles::Responder responder_;
  net::Worker quick_{"questions"};
  net::Worker thorough_{"role changes"};
  net::Worker comparing_{"comparison"};
};

}  // namespace hotbackup::slave
