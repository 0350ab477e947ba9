// SPDX-License-Identifier: Apache-2.0
#include "master/peer_caller.h"

#include <spdlog/spdlog.h>

#include "common/service/doorkeeper.h"

namespace hotbackup::master {
namespace {

constexpr std::chrono::milliseconds kConnectLimit{5000};
constexpr char kPeerKey[] = "HB-peer-key";

bool is_refusal(ErrorCode code) {
  switch (code) {
    case ErrorCode::kRefused:
    case ErrorCode::kDiverged:
    case ErrorCode::kGap:
    case ErrorCode::kVersion:
    case ErrorCode::kCorrupt:
      return true;
    default:
      return false;
  }
}

/// Points at a session for as long as it runs, however it ends.
class Current {
 public:
  Current(Session*& place, Session& session) : place_(place) { place_ = &session; }
  ~Current() { place_ = nullptr; }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  Session*& place_;
};

}  // namespace

asio::awaitable<void> PeerCaller::run() {
  context_.group.set_link(entry_, control::LinkState::kCalling);
  while (true) {
    Result<> ended = co_await call();
    if (ended.error().code() == ErrorCode::kCancelled) co_return;
    note(ended.error());
    co_await pause_.wait_for(backoff_.next());
  }
}

asio::awaitable<Result<>> PeerCaller::call() {
  std::optional<net::TcpStream> stream;
  Result<> connected = fail(ErrorCode::kConfig, "no address of " + peer_.name + " is configured");
  for (const config::Address& address : peer_.addresses) {
    stream.reset();
    connected = co_await net::connect(address.host, address.port, kConnectLimit, stream);
    if (connected) connected = co_await service::prove(*stream, context_.key, peer_);
    if (connected || connected.error().code() == ErrorCode::kCancelled) break;
    // What may be an impostor, or a node with a new key, is said even if another address works.
    if (connected.error().code() == ErrorCode::kRefused)
      context_.group.incidents().raise(kPeerKey, peer_.name, connected.error().text());
  }
  if (!connected) co_return connected;
  Session session(context_, entry_, std::move(*stream));
  session.limit_rate(peer_.rate_bytes_per_second);
  const Current current(session_, session);
  Result<> ended = co_await session.run();
  if (session.worked() || session.rewound()) {
    context_.group.incidents().clear(kPeerKey, peer_.name);
    backoff_.reset();
    last_error_.clear();
  }
  co_return ended;
}

// The same reason is logged once, however often it is met.
void PeerCaller::note(const Error& error) {
  const bool refused = is_refusal(error.code());
  context_.group.set_link(
      entry_, refused ? control::LinkState::kRefused : control::LinkState::kCalling, error.text());
  if (error.text() == last_error_) return;
  last_error_ = error.text();
  if (refused)
    spdlog::error("{}: {}: {}", context_.configuration.name, peer_.name, error.text());
  else
    spdlog::warn("{}: {}: {}; calling again", context_.configuration.name, peer_.name,
                 error.text());
}

}  // namespace hotbackup::master
