// SPDX-License-Identifier: Apache-2.0
#include "slave/server.h"

#include <spdlog/spdlog.h>

#include <asio/this_coro.hpp>

namespace hotbackup::slave {
namespace {

// Strangers included: each costs one descriptor and at most kGreetingBytesMax of memory.
constexpr std::size_t kSessionsMax = 128;

// Not an error of the server: it waits for the administrator.
bool not_yet(const Error& error) {
  return error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kFenced;
}

}  // namespace

Result<> Server::open() {
  const config::Address& listen = node_.configuration.node.listen;
  HOTBACKUP_ASSIGN(auto listener, net::Listener::open(executor_, listen.host, listen.port));
  listener_.emplace(std::move(listener));
  for (const config::Group& group : node_.configuration.groups) {
    auto service = GroupService::open(executor_, node_, group);
    if (!service && !not_yet(service.error()))
      return fail(std::move(service).error().with_context("group " + group.name));
    if (service) services_[group.name] = std::move(*service);
  }
  return {};
}

asio::awaitable<void> Server::run() {
  const config::Address& listen = node_.configuration.node.listen;
  spdlog::info("listening on {}:{}", listen.host, listener_->port());
  net::TaskGroup tasks(executor_);
  for (const config::Group& group : node_.configuration.groups) tasks.spawn(serve(group));
  net::TaskGroup acceptor(executor_);
  acceptor.spawn(accept_calls());
  net::Signal never(executor_);
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await never.wait();  // until cancelled
  co_await asio::this_coro::reset_cancellation_state();
  // No new calls, then the sessions (they use their group's service), then the groups.
  for (net::TaskGroup* group : {&acceptor, &sessions_, &tasks}) {
    group->cancel();
    const auto ended = co_await group->join();
    if (!ended) spdlog::error("{}", ended.error().text());
  }
  services_.clear();
  listener_.reset();
}

asio::awaitable<void> Server::accept_calls() {
  while (true) {
    std::optional<net::TcpStream> stream;
    Result<> accepted = co_await listener_->accept(stream);
    if (!accepted) {
      if (accepted.error().code() != ErrorCode::kCancelled)
        spdlog::error("{}", accepted.error().text());
      co_return;
    }
    if (session_count_ >= kSessionsMax) {
      spdlog::warn("{}: too many calls at once, not answered", stream->peer_address());
      continue;
    }
    sessions_.spawn(answer(std::move(*stream)));
  }
}

asio::awaitable<void> Server::answer(net::TcpStream stream) {
  auto find_group = [this](const std::string& name) { return find(name); };
  Session session(executor_, find_group, strangers_, std::move(stream));
  ++session_count_;
  co_await session.run();
  --session_count_;
}

tl::expected<GroupService*, Refusal> Server::find(const std::string& name) {
  const std::string& here = node_.configuration.node.name;
  if (const auto service = services_.find(name); service != services_.end())
    return service->second.get();
  if (!config::find_group(node_.configuration, name))
    return tl::unexpected(
        Refusal{wire::RefuseReason::kUnknownGroup,
                Error(ErrorCode::kRefused, "node " + here + " has no group '" + name + "'")});
  auto group = control::Group::open(node_.configuration.node.state + "/groups/" + name);
  if (group && (*group)->role() == control::Role::kMaster)
    return tl::unexpected(
        Refusal{wire::RefuseReason::kWrongRole,
                Error(ErrorCode::kRefused, "node " + here + " is itself master of group " + name)});
  return tl::unexpected(
      Refusal{wire::RefuseReason::kNotReady,
              Error(ErrorCode::kBusy, "group " + name + " has not been made on " + here +
                                          " yet: run hotbackup init " + name + " --role slave")});
}

asio::awaitable<void> Server::serve(const config::Group& group) {
  net::Signal never(executor_);
  std::string said;
  while (true) {
    if (const auto service = services_.find(group.name); service != services_.end()) {
      const Result<> ended = co_await service->second->run();
      services_.erase(group.name);
      said.clear();
      if (!ended && ended.error().code() == ErrorCode::kCancelled) co_return;
      if (!ended) spdlog::error("{}: {}", group.name, ended.error().text());
    } else {
      auto opened = GroupService::open(executor_, node_, group);
      if (opened) {
        services_[group.name] = std::move(*opened);
        continue;
      }
      const std::string why = opened.error().text();
      if (why != said) spdlog::info("{}: not served: {}", group.name, why);
      said = why;
    }
    co_await never.wait_for(group.check_period);
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

}  // namespace hotbackup::slave
