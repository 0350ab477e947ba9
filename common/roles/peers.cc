// SPDX-License-Identifier: Apache-2.0
#include "common/roles/peers.h"

#include <asio/co_spawn.hpp>
#include <thread>

#include "common/net/child_process.h"
#include "common/net/connector.h"
#include "common/net/deadline.h"
#include "common/service/doorkeeper.h"

namespace hotbackup::roles {
namespace {

constexpr std::chrono::seconds kHookLimit{30};

/// Runs one coroutine to its end on an io_context of its own.
Result<> run_to_end(asio::io_context& io, asio::awaitable<Result<>> work) {
  Result<> result = fail(ErrorCode::kCancelled, "not run");
  std::exception_ptr thrown;
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr exception, Result<> done) {
    thrown = exception;
    result = std::move(done);
  });
  io.restart();
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  return result;
}

}  // namespace

Result<> PeerLink::run(asio::awaitable<Result<>> work) {
  return run_to_end(io_, std::move(work));
}

asio::awaitable<Result<>> PeerLink::connect(const config::Peer& peer,
                                            std::chrono::milliseconds limit) {
  std::optional<net::TcpStream> stream;
  Result<> connected = fail(ErrorCode::kConfig, "no address of " + peer.name + " is configured");
  for (const config::Address& address : peer.addresses) {
    stream.reset();
    connected = co_await net::connect(address.host, address.port, limit, stream);
    if (connected) connected = co_await service::prove(*stream, key_, peer);
    if (connected) break;
  }
  if (connected) {
    link_.emplace(std::move(*stream));
    link_->handshake_done();
  }
  co_return connected;
}

Result<std::unique_ptr<PeerLink>> PeerLink::open(const Here& here, const std::string& peer,
                                                 std::chrono::milliseconds limit) {
  const config::Peer* found = config::find_peer(here.configuration, peer);
  if (found == nullptr) return fail(ErrorCode::kConfig, "no [[peer]] is called " + peer);
  std::unique_ptr<PeerLink> link(new PeerLink(here, peer));
  HOTBACKUP_ASSIGN(const auto own, identity::load_or_create(here.configuration.node.state));
  HOTBACKUP_ASSIGN(link->key_, net::TlsIdentity::make(own));
  HOTBACKUP_TRY(link->run(link->connect(*found, limit)));
  return link;
}

asio::awaitable<Result<>> PeerLink::exchange(std::string bytes, wire::Answer& answer) {
  Result<> sent = co_await link_->send(std::move(bytes));
  if (!sent) co_return sent;
  Result<wire::Message> message = co_await link_->receive();
  if (!message) co_return fail(std::move(message).error());
  if (auto* refuse = std::get_if<wire::Refuse>(&*message))
    co_return fail(wire::refused_by(peer_, *refuse));
  auto* found = std::get_if<wire::Answer>(&*message);
  if (found == nullptr)
    co_return fail(
        ErrorCode::kProtocol,
        peer_ + " sent a " + std::string(wire::message_name(*message)) + " where none belongs");
  answer = std::move(*found);
  co_return Result<>();
}

Result<wire::Answer> PeerLink::ask(wire::Ask question, std::chrono::milliseconds limit) {
  question.program = here_.program;
  question.node_name = here_.node();
  question.node = NodeId(here_.group.layout().node);
  question.group = here_.settings.name;
  question.group_id = here_.group.id();
  wire::Answer answer;
  HOTBACKUP_TRY(run(
      net::within(limit, peer_ + " does not answer", exchange(wire::encode(question), answer))));
  if (answer.node_name != peer_)
    return fail(ErrorCode::kRefused,
                "the node that answers is called '" + answer.node_name + "', not '" + peer_ + "'");
  return answer;
}

std::vector<PeerAnswer> survey(const Here& here, std::chrono::milliseconds limit) {
  std::vector<PeerAnswer> answers;
  for (const std::string& name : here.settings.peers)
    answers.push_back({name, fail(ErrorCode::kCancelled, "not asked")});
  std::vector<std::thread> threads;
  for (PeerAnswer& one : answers)
    threads.emplace_back([&here, &one, limit] {
      auto link = PeerLink::open(here, one.peer, limit);
      if (link)
        one.answer = (*link)->ask({}, limit);
      else
        one.answer = fail(std::move(link).error());
    });
  for (std::thread& thread : threads) thread.join();
  return answers;
}

Result<> run_hook(const Here& here, const std::string& command, const std::string& role,
                  const Epoch& epoch, const std::string& peer) {
  if (command.empty()) return {};
  net::Command hook;
  hook.shell = command;
  hook.limit = kHookLimit;
  hook.environment = {{"HOTBACKUP_GROUP", here.settings.name},
                      {"HOTBACKUP_ROLE", role},
                      {"HOTBACKUP_EPOCH", std::to_string(epoch.counter)},
                      {"HOTBACKUP_NUMBER", std::to_string(here.group.made().value)},
                      {"HOTBACKUP_TIME", iso8601(wall_now())},
                      {"HOTBACKUP_PEER", peer}};
  asio::io_context io(1);
  return run_to_end(io, net::run_command(std::move(hook)));
}

}  // namespace hotbackup::roles
