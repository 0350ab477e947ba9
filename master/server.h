// SPDX-License-Identifier: Apache-2.0
// hotbackup-master: serves every configured group of which this node is master.
#pragma once

#include <memory>
#include <vector>

#include "common/net/task_group.h"
#include "common/service/server.h"
#include "master/group_service.h"

namespace hotbackup::master {

class Server final : public service::Server {
 public:
  Server(asio::io_context& io, const service::Node& node)
      : node_(node), executor_(io.get_executor()) {}

  Result<> open() override;
  asio::awaitable<void> run() override;

 private:
  asio::awaitable<void> serve(const config::Group& group, std::unique_ptr<GroupService> service);

  const service::Node node_;
  asio::any_io_executor executor_;
  std::vector<std::unique_ptr<GroupService>> services_;  // one a configured group; null: not yet
};

}  // namespace hotbackup::master
