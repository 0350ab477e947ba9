// SPDX-License-Identifier: Apache-2.0
// Connections that delay and split bytes, break at any byte, go half open, and directions between
// machines in which nothing passes.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "tests/sim/world.h"

namespace hotbackup::sim {

/// One end of a connection as its owner sees it.
class Port {
 public:
  virtual ~Port() = default;
  virtual void on_bytes(std::string_view bytes) = 0;
  /// The peer has closed, or the connection broke. Nothing more comes.
  virtual void on_close() = 0;
  /// There is room for more to be written.
  virtual void on_room() = 0;
  /// False: bytes wait, as in a socket that nobody reads.
  virtual bool reading() const = 0;
};

class Network;

/// Shared by its two ends, 0 and 1. An owner that goes says leave().
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  static constexpr std::size_t kWindow = 16 * 1024;

  Connection(World& world, Network& network, int machine0, int machine1)
      : world_(world), network_(network), machine_{machine0, machine1} {}

  void attach(int end, Port& port) { port_[end] = &port; }
  void send(int end, std::string_view bytes);
  /// Fewer bytes than the window are on their way.
  bool room(int end) const { return way_[end].bytes.size() + way_[end].lost < kWindow; }
  /// The process at this end is gone. `announced`: its machine lives and closes the connection in
  /// good order; else the peer hears nothing more.
  void leave(int end, bool announced);
  /// Breaks: of what is on its way each direction delivers a part, cut at any byte. `told`: the
  /// ends hear of it.
  void cut(bool told);
  /// After a partition or a reader's pause.
  void pump(int end);

 private:
  struct Way {
    std::string bytes;
    bool closing = false;  // a close follows the bytes
    bool broken = false;   // what is sent from now on is lost
    std::size_t lost = 0;
    bool dead = false;  // nothing is delivered any more
    bool scheduled = false;
  };
  void deliver(int end);

  World& world_;
  Network& network_;
  const int machine_[2];
  Port* port_[2] = {nullptr, nullptr};
  Way way_[2];  // by the end that sends
};

class Network {
 public:
  explicit Network(World& world) : world_(world) {}

  std::shared_ptr<Connection> connect(int machine0, int machine1);
  bool blocked(int from, int to) const { return blocked_.count({from, to}) != 0; }
  void block(int from, int to) { blocked_.insert({from, to}); }
  void unblock(int from, int to) { blocked_.erase({from, to}); }
  void heal() { blocked_.clear(); }
  /// Breaks one that is open.
  void cut_one(bool told);
  Span delay();
  /// Everything takes this many times as long.
  void set_slowness(unsigned times) { slowness_ = times; }

 private:
  World& world_;
  std::set<std::pair<int, int>> blocked_;
  std::vector<std::weak_ptr<Connection>> connections_;
  unsigned slowness_ = 1;
};

}  // namespace hotbackup::sim
