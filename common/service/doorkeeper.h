// SPDX-License-Identifier: Apache-2.0
// Who may speak: every connection shows its key before a byte of it is parsed, and strangers get
// little of this machine. docs/protocol.md, "Before trust".
#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "common/config/configuration.h"
#include "common/net/tcp_stream.h"
#include "common/service/server.h"

namespace hotbackup::service {

/// The longest a handshake may take.
inline constexpr std::chrono::milliseconds kHandshakeLimit{5000};

/// Logs what callers were refused for: the same reason of the same host once in ten minutes,
/// however often they call, with the number of times before that. Bounded in memory and in lines,
/// however many hosts call.
class RefusalLog {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kEntriesMax = 1024;  // more than come to be in kRepeatAfter
  static constexpr std::chrono::minutes kRepeatAfter{10};
  static constexpr std::size_t kLinesPerMinute = 60;

  /// The line to log, or nothing.
  std::optional<std::string> note(const std::string& host, const std::string& why, Time now);

 private:
  struct Noted {
    Time at;
    std::uint64_t repeated = 0;
  };
  std::map<std::pair<std::string, std::string>, Noted> noted_;
  Time minute_;  // began
  std::size_t lines_ = 0;
  std::uint64_t unlogged_ = 0;
};

/// How many connections a listener takes on: sans-I/O.
class DoorLimits {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kStrangersMax = 128;     // that have not shown who they are
  static constexpr std::size_t kStrangersPerHost = 32;  // of them
  static constexpr std::size_t kLinksMax = 256;         // that have
  /// Calls of one host without a good end: so many at once, and then so many in a second.
  static constexpr double kCallsBurst = 64;
  static constexpr double kCallsPerSecond = 4;
  static constexpr std::size_t kHostsMax = 1024;

  /// A connection is there. Why it is not taken, or empty: then ended() or known() follows.
  std::string called(const std::string& host, Time now);
  /// It has shown who it is: its call costs nothing, and link_ended() follows. False: too many, and
  /// ended() follows.
  bool known(const std::string& host);
  /// It has not, and is closed.
  void ended(const std::string& host);
  void link_ended() { --links_; }

 private:
  struct Host {
    double calls = kCallsBurst;  // left
    Time at;
    std::size_t strangers = 0;
  };
  void forget_quiet_hosts(Time now);

  std::map<std::string, Host> hosts_;
  std::size_t strangers_ = 0;
  std::size_t links_ = 0;
};

/// One listener's door. Lives on its executor.
class Doorkeeper {
 public:
  /// `refused` hears of callers that showed no key, or an unknown one.
  Doorkeeper(const Node& node, std::function<void(const std::string& why)> refused);

  /// Whether the connection is taken on at all; else it is noted and closed by the caller.
  bool take(const net::TcpStream& stream);
  /// The caller shows its key: the name of the peer that holds it; empty for one on loopback that
  /// has come without TLS, which may only be a peer that has no fingerprint here. An error is
  /// noted.
  asio::awaitable<Result<std::string>> identify(net::TcpStream& stream);
  /// It is a peer, by its key or by what it said: its call costs nothing. False: too many links.
  bool known(const std::string& host);
  /// The end of a connection that was taken.
  void ended(const std::string& host, bool was_known);
  void note(const std::string& host, const std::string& why);

 private:
  asio::awaitable<Result<>> shake_hands(net::TcpStream& stream);

  const Node& node_;
  const std::function<void(const std::string&)> refused_;
  bool plain_ = false;  // some peer has no fingerprint
  DoorLimits limits_;
  RefusalLog log_;
};

/// Whether the peer that is called `name` may be who is at the other end: `shown` is what
/// Doorkeeper::identify() returned. Empty, or why not.
std::string not_the_caller(const config::Configuration& configuration, const std::string& name,
                           const std::string& shown);

/// The other side of it: a dialled stream shows this node's key and checks the peer's. kRefused:
/// the node that answers has another key.
asio::awaitable<Result<>> prove(net::TcpStream& stream, std::shared_ptr<net::TlsIdentity> key,
                                const config::Peer& peer);

}  // namespace hotbackup::service
