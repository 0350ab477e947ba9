// SPDX-License-Identifier: Apache-2.0
// Questions to the slave servers of a group's peers, asked by commands and by a server that changes
// roles. docs/decisions/0030-questions-over-the-link.md.
#pragma once

#include <asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "common/config/configuration.h"
#include "common/control/group.h"
#include "common/wire/link.h"

namespace hotbackup::roles {

/// A group on this node, as who asks and who changes roles needs it. Borrowed.
struct Here {
  const config::Configuration& configuration;
  const config::Group& settings;
  control::Group& group;
  std::string program;  // "hotbackup 0.1.0"

  const std::string& node() const { return configuration.node.name; }
};

/// A connection to a peer's slave server. Blocks its one thread; every call has a limit.
class PeerLink {
 public:
  /// kDisconnected or kTimeout where the peer cannot be reached.
  static Result<std::unique_ptr<PeerLink>> open(const Here& here, const std::string& peer,
                                                std::chrono::milliseconds limit);
  /// The question goes out with who asks filled in. After an error the link is of no more use.
  Result<wire::Answer> ask(wire::Ask question, std::chrono::milliseconds limit);
  const std::string& peer() const { return peer_; }

 private:
  PeerLink(const Here& here, std::string peer) : here_(here), peer_(std::move(peer)) {}
  asio::awaitable<Result<>> connect(const config::Peer& peer, std::chrono::milliseconds limit);
  asio::awaitable<Result<>> exchange(std::string bytes, wire::Answer& answer);
  Result<> run(asio::awaitable<Result<>> work);

  const Here here_;
  const std::string peer_;
  asio::io_context io_{1};
  std::shared_ptr<net::TlsIdentity> key_;
  std::optional<wire::Link> link_;
};

struct PeerAnswer {
  std::string peer;
  Result<wire::Answer> answer;
};
/// What the group is on every peer, all asked at once.
std::vector<PeerAnswer> survey(const Here& here, std::chrono::milliseconds limit);

/// An administrator's hook, with HOTBACKUP_GROUP, _ROLE, _EPOCH, _NUMBER, _TIME and _PEER set.
/// Nothing is done where `command` is empty.
Result<> run_hook(const Here& here, const std::string& command, const std::string& role,
                  const Epoch& epoch, const std::string& peer);

}  // namespace hotbackup::roles
