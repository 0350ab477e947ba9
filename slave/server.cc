// SPDX-License-Identifier: Apache-2.0
#include "slave/server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <asio/this_coro.hpp>

#include "common/service/groups.h"

namespace hotbackup::slave {
namespace {

constexpr char kStranger[] = "HB-stranger";
constexpr std::chrono::hours kStrangerShown{1};  // after the last one

}  // namespace

Result<> Server::open() {
  const config::Address& listen = node_.configuration.node.listen;
  HOTBACKUP_ASSIGN(auto listener, net::Listener::open(executor_, listen.host, listen.port));
  listener_.emplace(std::move(listener));
  for (const config::Group& group : node_.configuration.groups) {
    auto service = GroupService::open(executor_, node_, group);
    if (!service && !service::may_come_later(service.error()))
      return fail(std::move(service).error().with_context("group " + group.name));
    if (!service) continue;
    (*service)->group().incidents().clear(kStranger);  // a new configuration may know the caller
    services_[group.name] = std::move(*service);
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
  acceptor.spawn(forget_strangers());
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
    if (door_.take(*stream)) sessions_.spawn(answer(std::move(*stream)));
  }
}

asio::awaitable<void> Server::answer(net::TcpStream stream) {
  const std::string host = stream.peer_host();
  auto shown = co_await door_.identify(stream);
  bool known = shown && !shown->empty() && door_.known(host);
  if (shown && (known || shown->empty())) {
    Hosts hosts;
    hosts.find_group = [this, &host, &shown, &known](const wire::Hello& hello) {
      auto found = find(hello, *shown);
      if (found && !known) known = door_.known(host);
      return found;
    };
    hosts.answer = [this, &host, &shown, &known](wire::Ask ask) {
      if (!known && service::not_the_caller(node_.configuration, ask.node_name, *shown).empty())
        known = door_.known(host);
      return answer_question(std::move(ask), *shown);
    };
    hosts.note_stranger = [this, &host](const std::string& why) { door_.note(host, why); };
    Session session(executor_, std::move(hosts), std::move(stream));
    co_await session.run();
  }
  door_.ended(host, known);
}

// A change of roles takes its time; who only asks does not wait for it.
asio::awaitable<wire::Answer> Server::answer_question(wire::Ask ask, const std::string& shown) {
  wire::Answer answer;
  if (std::string why = service::not_the_caller(node_.configuration, ask.node_name, shown);
      !why.empty()) {
    raise_stranger(why);
    answer.exit = 3;
    answer.node_name = node_.configuration.node.name;
    answer.text = std::move(why);
    co_return answer;
  }
  net::Worker& worker = roles::Responder::is_quick(ask)        ? quick_
                        : roles::Responder::is_comparison(ask) ? comparing_
                                                               : thorough_;
  roles::Responder& responder = responder_;
  auto work = [&responder, &ask] { return responder.answer(ask); };
  answer = co_await worker.run(work);
  co_return answer;
}

asio::awaitable<void> Server::forget_strangers() {
  net::Signal never(executor_);
  while (true) {
    co_await never.wait_for(std::chrono::minutes(1));
    if (std::chrono::steady_clock::now() - last_stranger_ < kStrangerShown) continue;
    for (const auto& [name, service] : services_) service->group().incidents().clear(kStranger);
  }
}

void Server::raise_stranger(const std::string& why) {
  last_stranger_ = std::chrono::steady_clock::now();
  for (const auto& [name, service] : services_)
    service->group().incidents().raise(kStranger, "", why);
}

// A peer learns of the groups that it has a part in, and of no others.
tl::expected<GroupService*, Refusal> Server::find(const wire::Hello& hello,
                                                  const std::string& shown) {
  const std::string& here = node_.configuration.node.name;
  const std::string& name = hello.group;
  if (std::string why = service::not_the_caller(node_.configuration, hello.node_name, shown);
      !why.empty()) {
    raise_stranger(why);
    return tl::unexpected(
        Refusal{wire::RefuseReason::kPeerUnknown, Error(ErrorCode::kRefused, std::move(why))});
  }
  const auto group = config::find_group(node_.configuration, name);
  const bool has_part =
      group && std::count((*group)->peers.begin(), (*group)->peers.end(), hello.node_name) != 0;
  if (!has_part)
    return tl::unexpected(
        Refusal{wire::RefuseReason::kUnknownGroup,
                Error(ErrorCode::kRefused, "node " + here + " has no group '" + name + "' with " +
                                               hello.node_name + " as a peer")});
  if (const auto service = services_.find(name); service != services_.end())
    return service->second.get();
  auto opened = control::Group::open(node_.configuration.node.state + "/groups/" + name);
  if (opened && (*opened)->role() == control::Role::kMaster) {
    if (auto older = hear_caller(**opened, **group, hello)) return tl::unexpected(*older);
    if ((*opened)->role() == control::Role::kMaster)
      return tl::unexpected(Refusal{
          wire::RefuseReason::kWrongRole,
          Error(ErrorCode::kRefused, "node " + here + " is itself master of group " + name)});
  }
  if (opened && (*opened)->role() != control::Role::kNone)
    return tl::unexpected(Refusal{wire::RefuseReason::kNotReady,
                                  Error(ErrorCode::kBusy, "the role of " + here + " in group " +
                                                              name + " is being changed")});
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
      service::log_not_served(group.name, opened.error(), said);
    }
    co_await never.wait_for(std::min(group.check_period, 2 * service::kRolePeriod));
  }
}

}  // namespace hotbackup::slave
