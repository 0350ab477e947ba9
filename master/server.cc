// SPDX-License-Identifier: Apache-2.0
#include "master/server.h"

#include <spdlog/spdlog.h>

#include <asio/this_coro.hpp>

#include "common/service/groups.h"

namespace hotbackup::master {
Result<> Server::open() {
  for (const config::Group& group : node_.configuration.groups) {
    auto service = GroupService::open(executor_, node_, group);
    if (!service && !service::may_come_later(service.error()))
      return fail(std::move(service).error().with_context("group " + group.name));
    services_.push_back(service ? std::move(*service) : nullptr);
  }
  return {};
}

asio::awaitable<void> Server::run() {
  net::TaskGroup tasks(executor_);
  for (std::size_t i = 0; i < services_.size(); ++i)
    tasks.spawn(serve(node_.configuration.groups[i], std::move(services_[i])));
  services_.clear();
  if (tasks.empty()) spdlog::warn("no group is configured");
  net::Signal never(executor_);
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await never.wait();  // until cancelled
  tasks.cancel();
  co_await asio::this_coro::reset_cancellation_state();
  auto ended = co_await tasks.join();
  if (!ended) spdlog::error("{}", ended.error().text());
}

asio::awaitable<void> Server::serve(const config::Group& group,
                                    std::unique_ptr<GroupService> service) {
  net::Signal never(executor_);
  std::string said;
  while (true) {
    if (service != nullptr) {
      const Result<> ended = co_await service->run();
      service.reset();
      if (!ended && ended.error().code() == ErrorCode::kCancelled) co_return;
      if (!ended) spdlog::error("{}: {}", group.name, ended.error().text());
      said.clear();
    } else {
      auto opened = GroupService::open(executor_, node_, group);
      if (opened) {
        service = std::move(*opened);
        continue;
      }
      service::log_not_served(group.name, opened.error(), said);
    }
    co_await never.wait_for(std::min(group.check_period, 2 * service::kRolePeriod));
  }
}

}  // namespace hotbackup::master
