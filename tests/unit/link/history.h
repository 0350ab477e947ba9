// SPDX-License-Identifier: Apache-2.0
// A master's history in memory and the two machines that bring it to a slave, without sockets.
#pragma once

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "master/sender_machine.h"
#include "slave/receiver_machine.h"

namespace hotbackup::test {

using master::SenderMachine;
using slave::ReceiverMachine;

inline GroupId link_group() {
  return *GroupId::from_hex("00112233445566778899aabbccddeeff");
}

/// Updates as frames that follow on from each other; some of several parts.
class History {
 public:
  explicit History(const GroupId& group = link_group()) : group_(group) {
    positions_.push_back({{}, UpdateNumber(0), journal::chain_before_all(group)});
    frames_.emplace_back();
  }

  void add(std::vector<std::string> bodies) {
    journal::FrameHeader header;
    header.group = group_;
    header.epoch = {1, NodeId(7)};
    header.number = UpdateNumber(positions_.size());
    for (const std::string& body : bodies) header.update_bytes += journal::frame_bytes(body.size());
    ChainHash chain = positions_.back().chain;
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      header.part = static_cast<std::uint32_t>(i);
      header.last_part = i + 1 == bodies.size();
      header.body_bytes = static_cast<std::uint32_t>(bodies[i].size());
      header.body_hash = hash64(bodies[i]);
      header.chain = chain;
      std::string frame(journal::kFrameHeaderBytes, '\0');
      journal::encode(header, frame.data());
      chain = journal::chain_after(frame);
      frame += bodies[i];
      frame.resize(journal::frame_bytes(bodies[i].size()), '\0');
      parts.push_back(std::move(frame));
    }
    positions_.push_back({header.epoch, header.number, chain});
    frames_.push_back(std::move(parts));
  }

  UpdateNumber made() const { return UpdateNumber(positions_.size() - 1); }
  const Position& at(UpdateNumber number) const { return positions_[number.value]; }
  const std::vector<std::string>& parts(UpdateNumber number) const { return frames_[number.value]; }

 private:
  GroupId group_;
  std::vector<Position> positions_;               // [n]: after update n
  std::vector<std::vector<std::string>> frames_;  // [n]: frames of update n
};

inline SenderMachine::Options sender_options(const History& history) {
  SenderMachine::Options options;
  options.peer_name = "lyon";
  options.hello.node_name = "paris";
  options.hello.group = "dns";
  options.hello.group_id = link_group();
  options.hello.published = history.at(history.made());
  return options;
}

inline wire::Welcome welcome_at(const Position& position, UpdateNumber applied = {}) {
  wire::Welcome welcome;
  welcome.node_name = "lyon";
  welcome.journaled = position;
  welcome.applied = applied;
  return welcome;
}

}  // namespace hotbackup::test
