// SPDX-License-Identifier: Apache-2.0
// Keeps a link to one slave: dials, lets a Session run, pauses, dials again.
#pragma once

#include "common/net/connector.h"
#include "master/session.h"

namespace hotbackup::master {

/// Lives on the server's executor. Everything is borrowed.
class PeerCaller {
 public:
  PeerCaller(const GroupContext& context, const config::Peer& peer, control::PeerEntry& entry)
      : context_(context), peer_(peer), entry_(entry), pause_(context.executor) {}

  /// Until it is cancelled.
  asio::awaitable<void> run();
  void published_moved() {
    if (session_ != nullptr) session_->published_moved();
  }

  /// The journal's limit has released this slave: its link ends, the next one begins with a seed.
  void forgotten(const std::string& name) {
    if (session_ != nullptr && name == peer_.name) session_->release();
  }

 private:
  asio::awaitable<Result<>> call();
  void note(const Error& error);

  const GroupContext& context_;
  const config::Peer& peer_;
  control::PeerEntry& entry_;
  net::Signal pause_;
  net::Backoff backoff_;
  Session* session_ = nullptr;  // while it runs
  std::string last_error_;
};

}  // namespace hotbackup::master
