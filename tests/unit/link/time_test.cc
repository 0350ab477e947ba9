// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/link/history.h"

using namespace hotbackup;
using namespace hotbackup::test;
using namespace std::chrono_literals;

namespace {

const SenderMachine::Time kStart{};

void drain(auto& machine, SenderMachine::Time now) {
  while (machine.next_output(now)) machine.written(now);
}

struct Pair {
  History history;
  SenderMachine sender;
  ReceiverMachine receiver;

  Pair() : history(one_update()), sender(sender_options(history), kStart), receiver({}, kStart) {
    drain(sender, kStart);
    REQUIRE(receiver.receive(sender_options(history).hello, kStart));
    receiver.welcome(welcome_at(history.at(UpdateNumber(1))), 2s);
    drain(receiver, kStart);
    REQUIRE(sender.receive(welcome_at(history.at(UpdateNumber(1))), kStart));
    REQUIRE(sender.compare(UpdateNumber(1), history.at(UpdateNumber(1))));
    drain(sender, kStart);
    REQUIRE(receiver.receive(wire::Stream{UpdateNumber(2)}, kStart));
  }

  static History one_update() {
    History history;
    history.add({"first"});
    return history;
  }
};

}  // namespace

TEST_CASE("each side says something when it has been quiet for a check period") {
  Pair pair;
  REQUIRE(pair.sender.tick(kStart + 1900ms));
  REQUIRE(pair.receiver.tick(kStart + 1900ms));
  CHECK_FALSE(pair.sender.next_output(kStart + 1900ms));
  CHECK_FALSE(pair.receiver.next_output(kStart + 1900ms));
  REQUIRE(pair.sender.tick(kStart + 2s));
  REQUIRE(pair.receiver.tick(kStart + 2s));
  const auto from_sender = pair.sender.next_output(kStart + 2s);
  const auto from_receiver = pair.receiver.next_output(kStart + 2s);
  REQUIRE(from_sender);
  REQUIRE(from_receiver);
  CHECK(std::holds_alternative<wire::Heartbeat>(*from_sender));
  CHECK(std::holds_alternative<wire::Heartbeat>(*from_receiver));
}

TEST_CASE("a peer that is silent for three check periods is given up") {
  Pair pair;
  CHECK(pair.sender.tick(kStart + 5900ms));
  CHECK(pair.receiver.tick(kStart + 5900ms));
  const auto sender = pair.sender.tick(kStart + 6s);
  const auto receiver = pair.receiver.tick(kStart + 6s);
  REQUIRE_FALSE(sender);
  REQUIRE_FALSE(receiver);
  CHECK(sender.error().code() == ErrorCode::kTimeout);
  CHECK(receiver.error().code() == ErrorCode::kTimeout);
}

TEST_CASE("the slower of two check periods counts") {
  const History history = Pair::one_update();
  SenderMachine sender(sender_options(history), kStart);
  drain(sender, kStart);
  auto welcome = welcome_at(history.at(UpdateNumber(1)));
  welcome.check_period = 10s;
  REQUIRE(sender.receive(welcome, kStart));
  REQUIRE(sender.compare(UpdateNumber(1), history.at(UpdateNumber(1))));
  CHECK(sender.tick(kStart + 29s));
  CHECK_FALSE(sender.tick(kStart + 30s));
}

TEST_CASE("a master is not silent while its slave does not read") {
  Pair pair;
  pair.receiver.set_reading(false, kStart + 1s);
  CHECK(pair.receiver.tick(kStart + 1h));
  pair.receiver.set_reading(true, kStart + 1h);
  CHECK(pair.receiver.tick(kStart + 1h + 5s));
  CHECK_FALSE(pair.receiver.tick(kStart + 1h + 6s));
}

TEST_CASE("a peer that does not read for thirty seconds is given up though it talks") {
  Pair pair;
  pair.history.add({"second"});
  pair.sender.add_frames(pair.history.parts(UpdateNumber(2))[0], UpdateNumber(2), true);
  REQUIRE(pair.sender.next_output(kStart));  // taken, never written
  for (auto time = kStart; time < kStart + 30s; time += 1s) {
    REQUIRE(pair.sender.receive(wire::Heartbeat{{}, {}, UpdateNumber(1), {}}, time));
    REQUIRE(pair.sender.tick(time));
  }
  const auto given_up = pair.sender.tick(kStart + 30s);
  REQUIRE_FALSE(given_up);
  CHECK(given_up.error().text().find("has not read") != std::string::npos);
}

TEST_CASE("who does not answer or say hello in time is given up") {
  const History history = Pair::one_update();
  SenderMachine sender(sender_options(history), kStart);
  ReceiverMachine receiver({}, kStart);
  CHECK(sender.tick(kStart + 4900ms));
  CHECK(receiver.tick(kStart + 4900ms));
  CHECK_FALSE(sender.tick(kStart + 5s));
  CHECK_FALSE(receiver.tick(kStart + 5s));
}

TEST_CASE("no more is added when the window of unacknowledged updates is full") {
  Pair pair;
  auto options = sender_options(pair.history);
  options.window_bytes = 1 << 20;
  SenderMachine sender(options, kStart);
  drain(sender, kStart);
  REQUIRE(sender.receive(welcome_at(pair.history.at(UpdateNumber(1))), kStart));
  REQUIRE(sender.compare(UpdateNumber(1), pair.history.at(UpdateNumber(1))));
  std::uint64_t number = 1;
  while (sender.wants_frames() && number < 1000) {
    sender.add_frames(std::string(100'000, 'x'), UpdateNumber(++number), true);
    drain(sender, kStart);
  }
  CHECK(number == 12);
  REQUIRE(sender.receive(wire::Acknowledge{UpdateNumber(5), {}}, kStart));
  CHECK(sender.wants_frames());
  // The parts of one update go on whatever the window: only the last can be acknowledged.
  for (int part = 0; part < 100; ++part) {
    sender.add_frames(std::string(100'000, 'x'), UpdateNumber(number), false);
    drain(sender, kStart);
    CHECK(sender.wants_frames());
  }
  sender.add_frames(std::string(100, 'x'), UpdateNumber(++number), true);
  drain(sender, kStart);
  CHECK_FALSE(sender.wants_frames());
}

TEST_CASE(
    "with a lease the sender stamps heartbeats however busy the link is, and they come back at "
    "once") {
  Pair pair;
  auto options = sender_options(pair.history);
  options.stamp_period = 250ms;
  SenderMachine sender(options, kStart);
  drain(sender, kStart);
  REQUIRE(sender.receive(welcome_at(pair.history.at(UpdateNumber(1))), kStart));
  REQUIRE(sender.compare(UpdateNumber(1), pair.history.at(UpdateNumber(1))));
  drain(sender, kStart);
  REQUIRE(sender.tick(kStart + 100ms));
  const auto first = sender.next_output(kStart + 100ms);
  REQUIRE(first);
  auto stamped = std::get<wire::Heartbeat>(*first);
  sender.written(kStart + 100ms);
  REQUIRE(sender.tick(kStart + 349ms));
  CHECK_FALSE(sender.next_output(kStart + 349ms));
  REQUIRE(sender.tick(kStart + 350ms));
  CHECK(sender.next_output(kStart + 350ms));

  stamped.stamp_ns = 4711;  // as the owner does
  REQUIRE(pair.receiver.receive(stamped, kStart + 110ms));
  const auto back = pair.receiver.next_output(kStart + 110ms);
  REQUIRE(back);
  CHECK(std::get<wire::Heartbeat>(*back).echo_ns == 4711);
  REQUIRE(sender.receive(*back, kStart + 120ms));
  CHECK(sender.echo_ns() == 4711);
  REQUIRE(sender.receive(wire::Heartbeat{{}, {}, UpdateNumber(1), {}, 0, 4000}, kStart + 130ms));
  CHECK(sender.echo_ns() == 4711);  // an older one takes nothing back
}
