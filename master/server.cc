// SPDX-License-Identifier: Apache-2.0
#include "master/server.h"

#include <spdlog/spdlog.h>

#include <asio/this_coro.hpp>

namespace hotbackup::master {
namespace {

// Not an error of the server: it waits for the administrator.
bool not_yet(const Error& error) {
  return error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kFenced;
}

}  // namespace

Result<> Server::open() {
  for (const config::Group& group : node_.configuration.groups) {
    auto service = GroupService::open(executor_, node_, group);
    if (!service && !not_yet(service.error()))
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
      const std::string why = opened.error().text();
      if (why != said) spdlog::info("{}: not served: {}", group.name, why);
      said = why;
    }
    co_await never.wait_for(std::min(group.check_period, 2 * service::kRolePeriod));
  }
}

std::vector<std::string> find_problems(const config::Configuration& configuration) {
  std::vector<std::string> problems;
  for (const config::Group& group : configuration.groups) {
    if (const auto owner = config::resolve_owner(group); !owner)
      problems.push_back("group " + group.name + ": " + owner.error().text());
    auto opened = control::Group::open(configuration.node.state + "/groups/" + group.name);
    if (!opened && opened.error().code() != ErrorCode::kNotFound)
      problems.push_back("group " + group.name + ": " + opened.error().text());
  }
  return problems;
}

}  // namespace hotbackup::master
