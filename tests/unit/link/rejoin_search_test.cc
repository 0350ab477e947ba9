// SPDX-License-Identifier: Apache-2.0
// How a master finds the last position that it and a slave with another history have in common.
#include "tests/unit/link/history.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

const SenderMachine::Time kStart{};

/// Two histories that are one through `common`; the slave's goes on in epoch 1, the master's in 2.
struct Parted {
  std::uint64_t common;
  std::uint64_t slave;
  std::uint64_t master;
  std::uint64_t oldest = 1;  // in the master's journal

  static Position at(std::uint64_t number, bool shared, std::uint64_t whose) {
    const Epoch epoch = shared || whose == 1 ? Epoch{1, NodeId(1)} : Epoch{2, NodeId(2)};
    return {epoch, UpdateNumber(number), {number, shared ? 0 : whose}};
  }
  Position on_slave(std::uint64_t number) const { return at(number, number <= common, 1); }
  Position on_master(std::uint64_t number) const { return at(number, number <= common, 2); }

  SenderMachine sender() const {
    SenderMachine::Options options;
    options.peer_name = "lyon";
    options.hello.published = {{2, NodeId(2)}, UpdateNumber(master), {}};
    SenderMachine sender(options, kStart);
    REQUIRE(sender.next_output(kStart));
    sender.written(kStart);
    REQUIRE(sender.receive(welcome_at(on_slave(slave)), kStart));
    Result<Position> here = fail(ErrorCode::kNotFound, "not published yet");
    if (slave <= master) here = on_master(slave);
    REQUIRE(sender.compare(UpdateNumber(master), here));
    REQUIRE(sender.phase() == SenderMachine::Phase::kProbing);
    sender.search_from(UpdateNumber(oldest));
    return sender;
  }

  /// One round; what the slave answers.
  Result<> round(SenderMachine& sender) const {
    std::vector<Position> positions;
    for (const UpdateNumber number : sender.probe_numbers()) {
      CHECK(number.value + 1 >= oldest);
      CHECK(number.value <= std::min(slave, master));
      positions.push_back(on_master(number.value));
    }
    sender.probe(positions);
    REQUIRE(sender.next_output(kStart));
    sender.written(kStart);
    wire::Agree agree;
    for (const Position& position : positions)
      if (position.chain == on_slave(position.number.value).chain) agree.number = position.number;
    return sender.receive(agree, kStart);
  }
};

}  // namespace

TEST_CASE("the last common position is found in few rounds, wherever it is") {
  std::mt19937_64 random(7);
  for (int run = 0; run < 2000; ++run) {
    const std::uint64_t most = run % 2 == 0 ? 30 : 20'000'000;
    Parted parted{};
    parted.common = 1 + random() % most;
    parted.slave = parted.common + 1 + random() % most;
    parted.master = parted.common + 1 + random() % most;
    parted.oldest = 1 + random() % parted.common;
    CAPTURE(parted.common);
    CAPTURE(parted.slave);
    CAPTURE(parted.master);
    auto sender = parted.sender();
    int rounds = 0;
    while (sender.phase() == SenderMachine::Phase::kProbing) {
      REQUIRE(++rounds <= 9);
      REQUIRE(parted.round(sender));
    }
    REQUIRE(sender.phase() == SenderMachine::Phase::kRewinding);
    const auto message = sender.next_output(kStart);
    REQUIRE(message);
    CHECK(std::get<wire::Rewind>(*message).common == parted.on_master(parted.common));
    CHECK(sender.common().number.value == parted.common);
  }
}

TEST_CASE("a slave that parted before the journal begins is told that history is gone") {
  const Parted parted{100, 300, 400, 200};
  auto sender = parted.sender();
  const auto answered = parted.round(sender);
  REQUIRE_FALSE(answered);
  CHECK(answered.error().code() == ErrorCode::kGap);
  const auto message = sender.next_output(kStart);
  REQUIRE(message);
  CHECK(std::get<wire::Refuse>(*message).reason == wire::RefuseReason::kHistoryGone);
}

TEST_CASE("a slave ahead of its master in the same epoch is not asked to undo anything") {
  History history;
  for (int i = 0; i < 5; ++i) history.add({"body"});
  SenderMachine sender(sender_options(history), kStart);
  REQUIRE(sender.next_output(kStart));
  sender.written(kStart);
  REQUIRE(sender.receive(welcome_at(history.at(UpdateNumber(5))), kStart));
  const auto verdict =
      sender.compare(UpdateNumber(3), fail(ErrorCode::kNotFound, "not published yet"));
  REQUIRE_FALSE(verdict);
  CHECK(verdict.error().code() == ErrorCode::kDiverged);
}

TEST_CASE("a slave does not undo what belongs to the master's own epoch or to a later one") {
  for (const std::uint64_t epoch : {1, 2, 3}) {
    ReceiverMachine receiver({}, kStart);
    wire::Hello hello;
    hello.node_name = "paris";
    hello.published = {{2, NodeId(2)}, UpdateNumber(50), {}};
    REQUIRE(receiver.receive(hello, kStart));
    receiver.welcome(welcome_at({{epoch, NodeId(1)}, UpdateNumber(40), {40, 1}}),
                     std::chrono::seconds(1));
    REQUIRE(receiver.next_output(kStart));
    const auto work =
        receiver.receive(wire::Rewind{{{1, NodeId(1)}, UpdateNumber(30), {30, 0}}}, kStart);
    CHECK(work.has_value() == (epoch == 1));
  }
}
