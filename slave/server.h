// SPDX-License-Identifier: Apache-2.0
// hotbackup-slave: listens, and serves every configured group of which this node is slave.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>

#include "common/net/listener.h"
#include "common/net/task_group.h"
#include "common/service/server.h"
#include "slave/group_service.h"
#include "slave/session.h"

namespace hotbackup::slave {

class Server final : public service::Server {
 public:
  Server(asio::io_context& io, const service::Node& node)
      : node_(node), executor_(io.get_executor()), sessions_(executor_) {}

  Result<> open() override;
  asio::awaitable<void> run() override;

 private:
  asio::awaitable<void> accept_calls();
  asio::awaitable<void> answer(net::TcpStream stream);
  asio::awaitable<void> serve(const config::Group& group);
  tl::expected<GroupService*, Refusal> find(const std::string& name);

  const service::Node node_;
  asio::any_io_executor executor_;
  std::optional<net::Listener> listener_;
  std::map<std::string, std::unique_ptr<GroupService>> services_;  // those made here
  Strangers strangers_;
  net::TaskGroup sessions_;
  std::size_t session_count_ = 0;
};

/// For --check.
std::vector<std::string> find_problems(const config::Configuration& configuration);

}  // namespace hotbackup::slave
