// SPDX-License-Identifier: Apache-2.0
#include "common/service/doorkeeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/net/deadline.h"

namespace hotbackup::service {
namespace {

RefusalLog::Time now() {
  return std::chrono::steady_clock::now();
}

bool holds(const config::Peer& peer, const std::string& fingerprint) {
  return std::find(peer.fingerprints.begin(), peer.fingerprints.end(), fingerprint) !=
         peer.fingerprints.end();
}

const config::Peer* holder(const config::Configuration& configuration,
                           const std::string& fingerprint) {
  for (const config::Peer& peer : configuration.peers)
    if (holds(peer, fingerprint)) return &peer;
  return nullptr;
}

}  // namespace

std::optional<std::string> RefusalLog::note(const std::string& host, const std::string& why,
                                            Time now) {
  auto [entry, added] = noted_.try_emplace({host, why});
  Noted& noted = entry->second;
  if (!added && now - noted.at < kRepeatAfter) {
    ++noted.repeated;
    return std::nullopt;
  }
  if (lines_ == 0 || now - minute_ >= std::chrono::minutes(1)) {
    minute_ = now;
    lines_ = 0;
  }
  if (lines_ >= kLinesPerMinute) {
    if (added) noted_.erase(entry);
    ++unlogged_;
    return std::nullopt;
  }
  ++lines_;
  std::string line = host + ": " + why;
  if (noted.repeated != 0) line += " (and " + std::to_string(noted.repeated) + " times before)";
  if (unlogged_ != 0) line += "; " + std::to_string(unlogged_) + " other refusals are not shown";
  unlogged_ = 0;
  noted = {now, 0};
  if (noted_.size() > kEntriesMax) {
    const auto older = [](const auto& a, const auto& b) { return a.second.at < b.second.at; };
    noted_.erase(std::min_element(noted_.begin(), noted_.end(), older));
  }
  return line;
}

std::string DoorLimits::called(const std::string& host, Time now) {
  if (hosts_.size() >= kHostsMax && !hosts_.contains(host)) forget_quiet_hosts(now);
  if (hosts_.size() >= kHostsMax && !hosts_.contains(host)) return "too many hosts call at once";
  auto [entry, added] = hosts_.try_emplace(host);
  Host& caller = entry->second;
  if (!added) {
    const std::chrono::duration<double> passed = now - caller.at;
    caller.calls = std::min(kCallsBurst, caller.calls + passed.count() * kCallsPerSecond);
  }
  caller.at = now;
  if (caller.calls < 1) return "calls too often";
  if (strangers_ >= kStrangersMax) return "too many calls at once";
  if (caller.strangers >= kStrangersPerHost) return "too many calls at once from this host";
  caller.calls -= 1;
  ++caller.strangers;
  ++strangers_;
  return {};
}

bool DoorLimits::known(const std::string& host) {
  if (links_ >= kLinksMax) return false;
  ended(host);
  Host& caller = hosts_[host];
  caller.calls = std::min(kCallsBurst, caller.calls + 1);
  ++links_;
  return true;
}

void DoorLimits::ended(const std::string& host) {
  --hosts_[host].strangers;
  --strangers_;
}

// Those that may call as often as one that never called.
void DoorLimits::forget_quiet_hosts(Time now) {
  std::erase_if(hosts_, [now](const auto& entry) {
    const Host& host = entry.second;
    const std::chrono::duration<double> passed = now - host.at;
    return host.strangers == 0 && host.calls + passed.count() * kCallsPerSecond >= kCallsBurst;
  });
}

Doorkeeper::Doorkeeper(const Node& node, std::function<void(const std::string&)> refused)
    : node_(node), refused_(std::move(refused)) {
  for (const config::Peer& peer : node_.configuration.peers)
    plain_ = plain_ || peer.fingerprints.empty();
}

void Doorkeeper::note(const std::string& host, const std::string& why) {
  if (const auto line = log_.note(host, why, now())) spdlog::warn("{}", *line);
}

bool Doorkeeper::take(const net::TcpStream& stream) {
  const std::string why = limits_.called(stream.peer_host(), now());
  if (why.empty()) return true;
  note(stream.peer_host(), "not answered: " + why);
  return false;
}

asio::awaitable<Result<>> Doorkeeper::shake_hands(net::TcpStream& stream) {
  if (plain_ && stream.peer_is_loopback()) {
    auto tls = co_await stream.begins_with_tls();
    if (!tls) co_return fail(std::move(tls).error());
    if (!*tls) co_return Result<>();
  }
  const config::Configuration& configuration = node_.configuration;
  net::KnowsKey knows = [&configuration](const std::string& fingerprint) {
    return holder(configuration, fingerprint) != nullptr;
  };
  co_return co_await stream.secure(node_.key, net::TcpStream::Side::kCalled, std::move(knows));
}

asio::awaitable<Result<std::string>> Doorkeeper::identify(net::TcpStream& stream) {
  const std::string host = stream.peer_host();
  auto hands = shake_hands(stream);
  std::string late = "it did not show its key in time";
  Result<> shaken = co_await net::within(kHandshakeLimit, std::move(late), std::move(hands));
  if (!shaken) {
    if (shaken.error().code() == ErrorCode::kCancelled) co_return fail(shaken.error());
    note(host, "not let in: " + shaken.error().text());
    if (shaken.error().code() == ErrorCode::kRefused)
      refused_(host + " called: " + shaken.error().text());
    co_return fail(std::move(shaken).error());
  }
  const config::Peer* peer = holder(node_.configuration, stream.peer_fingerprint());
  co_return peer == nullptr ? std::string() : peer->name;
}

bool Doorkeeper::known(const std::string& host) {
  if (limits_.known(host)) return true;
  note(host, "not answered: too many links");
  return false;
}

void Doorkeeper::ended(const std::string& host, bool was_known) {
  if (was_known)
    limits_.link_ended();
  else
    limits_.ended(host);
}

std::string not_the_caller(const config::Configuration& configuration, const std::string& name,
                           const std::string& shown) {
  if (!shown.empty())
    return shown == name ? ""
                         : "the caller says it is " + name + ", and its key is that of " + shown;
  const config::Peer* peer = config::find_peer(configuration, name);
  if (peer != nullptr && peer->fingerprints.empty()) return {};
  return "the caller says it is " + name + " and shows no key";
}

asio::awaitable<Result<>> prove(net::TcpStream& stream, std::shared_ptr<net::TlsIdentity> key,
                                const config::Peer& peer) {
  if (peer.fingerprints.empty()) {
    if (stream.peer_is_loopback()) co_return Result<>();
    co_return fail(ErrorCode::kConfig, stream.peer_address() + " is not a loopback address: " +
                                           peer.name + " needs a fingerprint in its [[peer]]");
  }
  net::KnowsKey knows = [&peer](const std::string& fingerprint) {
    return holds(peer, fingerprint);
  };
  auto hands = stream.secure(std::move(key), net::TcpStream::Side::kCaller, std::move(knows));
  std::string late = "no TLS from " + stream.peer_address() + " in time";
  Result<> shaken = co_await net::within(kHandshakeLimit, std::move(late), std::move(hands));
  if (shaken) co_return shaken;
  co_return fail(std::move(shaken).error().with_context("the node at " + stream.peer_address()));
}

}  // namespace hotbackup::service
