// SPDX-License-Identifier: Apache-2.0
// What the two server programs have in common: command line, configuration, log, signals, systemd.
// Each program hands in its parts; nothing here knows what they serve.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/config/configuration.h"
#include "common/net/tls.h"

namespace hotbackup::service {

/// One configuration, being served. Made anew for each reload.
class Server {
 public:
  virtual ~Server() = default;
  /// Takes what it needs (a port, the groups' locks), or says why it cannot. May block.
  virtual Result<> open() = 0;
  /// Serves until it is cancelled. When it ends, no thread or task of it is left and everything it
  /// took is free again.
  virtual asio::awaitable<void> run() = 0;
};

/// How often a server looks whether a group's role is still, or has become, its own.
inline constexpr std::chrono::milliseconds kRolePeriod{50};

struct Node {
  config::Configuration configuration;
  NodeId id;
  std::shared_ptr<net::TlsIdentity> key;
};
/// Reads the node's key, or makes it.
Result<Node> make_node(config::Configuration configuration);

struct Program {
  std::string name;
  std::string description;
  std::function<std::unique_ptr<Server>(asio::io_context&, const Node&)> make;
};

/// "hotbackup 0.1.0"
std::string program_version();

/// The whole life of a server process; its exit code.
int run(int argc, char** argv, const Program& program);

}  // namespace hotbackup::service
