// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/link/history.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

const SenderMachine::Time kStart{};

History history_of(int updates) {
  History history;
  for (int i = 1; i <= updates; ++i) history.add({"body " + std::to_string(i)});
  return history;
}

/// A sender that has sent its hello and got this welcome.
SenderMachine greeted(const History& history, const wire::Welcome& welcome) {
  SenderMachine sender(sender_options(history), kStart);
  const auto hello = sender.next_output(kStart);
  REQUIRE(hello);
  REQUIRE(std::holds_alternative<wire::Hello>(*hello));
  sender.written(kStart);
  REQUIRE(sender.receive(welcome, kStart));
  REQUIRE(sender.phase() == SenderMachine::Phase::kComparing);
  return sender;
}

wire::RefuseReason refusal_of(SenderMachine& sender) {
  const auto message = sender.next_output(kStart);
  REQUIRE(message);
  REQUIRE(std::holds_alternative<wire::Refuse>(*message));
  return std::get<wire::Refuse>(*message).reason;
}

}  // namespace

TEST_CASE("a slave without a position is seeded") {
  const History history = history_of(5);
  auto sender = greeted(history, welcome_at(history.at(UpdateNumber(0))));
  CHECK(sender.compare(history.made(), history.at(UpdateNumber(0))));
  CHECK(sender.phase() == SenderMachine::Phase::kSeedWanted);
}

TEST_CASE("a slave on the master's history is streamed to from the next update") {
  const History history = history_of(5);
  auto sender = greeted(history, welcome_at(history.at(UpdateNumber(3)), UpdateNumber(2)));
  CHECK(sender.compare(history.made(), history.at(UpdateNumber(3))));
  CHECK(sender.phase() == SenderMachine::Phase::kStreaming);
  const auto stream = sender.next_output(kStart);
  REQUIRE(stream);
  CHECK(std::get<wire::Stream>(*stream).from == UpdateNumber(4));
  CHECK(sender.journaled() == UpdateNumber(3));
  CHECK(sender.applied() == UpdateNumber(2));
}

TEST_CASE("a slave with another history at its number is refused as diverged") {
  const History history = history_of(5);
  Position other = history.at(UpdateNumber(3));
  other.chain.low ^= 1;
  auto sender = greeted(history, welcome_at(other));
  const auto verdict = sender.compare(history.made(), history.at(UpdateNumber(3)));
  REQUIRE_FALSE(verdict);
  CHECK(verdict.error().code() == ErrorCode::kDiverged);
  CHECK(refusal_of(sender) == wire::RefuseReason::kDiverged);
}

TEST_CASE("a slave ahead of what is published is refused as diverged") {
  const History history = history_of(5);
  auto sender = greeted(history, welcome_at(history.at(UpdateNumber(5))));
  const auto verdict = sender.compare(UpdateNumber(4), history.at(UpdateNumber(5)));
  REQUIRE_FALSE(verdict);
  CHECK(verdict.error().code() == ErrorCode::kDiverged);
  CHECK(refusal_of(sender) == wire::RefuseReason::kDiverged);
}

TEST_CASE("a journal that begins after the slave's next update refuses with history gone") {
  const History history = history_of(5);
  auto sender = greeted(history, welcome_at(history.at(UpdateNumber(2))));
  const auto verdict = sender.compare(history.made(), fail(ErrorCode::kGap, "begins later"));
  REQUIRE_FALSE(verdict);
  CHECK(verdict.error().code() == ErrorCode::kGap);
  CHECK(refusal_of(sender) == wire::RefuseReason::kHistoryGone);
}

TEST_CASE("a slave that was released is seeded where its copy is known to be a prefix") {
  const History history = history_of(5);
  const UpdateNumber two(2);
  const auto gone = [] { return Result<Position>(fail(ErrorCode::kGap, "begins later")); };
  {
    // The history is gone, but this is what it had when it was released.
    auto sender = greeted(history, welcome_at(history.at(two)));
    REQUIRE(sender.compare(history.made(), gone(), {history.at(two), true}));
    CHECK(sender.phase() == SenderMachine::Phase::kSeedWanted);
    sender.begin_seed({history.at(history.made()), {}, 0});
    const auto begin = sender.next_output(kStart);
    REQUIRE(begin);
    CHECK(std::get<wire::SeedBegin>(*begin).over == history.at(two));
    // Its old copy is not taken for the seed, even at the seed's own number.
    sender.written(kStart);
    sender.end_seed(0);
    const UpdateNumber made = history.made();
    REQUIRE(sender.receive(wire::Heartbeat{{}, {}, made, made}, kStart));
    CHECK(sender.phase() == SenderMachine::Phase::kSeedSent);
    REQUIRE(sender.receive(wire::Acknowledge{made, made}, kStart));
    CHECK(sender.phase() == SenderMachine::Phase::kStreaming);
  }
  {
    // The journal still holds it all; it was released all the same.
    auto sender = greeted(history, welcome_at(history.at(two)));
    REQUIRE(sender.compare(history.made(), history.at(two), {history.at(UpdateNumber(1)), true}));
    CHECK(sender.phase() == SenderMachine::Phase::kSeedWanted);
  }
  {
    // It has more than is remembered: whose update 2 that is cannot be known.
    auto sender = greeted(history, welcome_at(history.at(two)));
    const auto verdict =
        sender.compare(history.made(), gone(), {history.at(UpdateNumber(1)), true});
    REQUIRE_FALSE(verdict);
    CHECK(verdict.error().code() == ErrorCode::kGap);
    CHECK(verdict.error().text().find("hotbackup init dns --role slave --replace") !=
          std::string::npos);
    CHECK(refusal_of(sender) == wire::RefuseReason::kHistoryGone);
  }
  {
    Position other = history.at(two);
    other.chain.low ^= 1;
    auto sender = greeted(history, welcome_at(other));
    const auto verdict = sender.compare(history.made(), gone(), {history.at(two), true});
    REQUIRE_FALSE(verdict);
    CHECK(verdict.error().code() == ErrorCode::kDiverged);
  }
}

TEST_CASE("a slave lets nobody seed over a copy but who knows it and has no less") {
  const History history = history_of(5);
  const auto offered = [&](const Position& over, UpdateNumber at) {
    ReceiverMachine receiver({}, kStart);
    wire::Hello hello = sender_options(history).hello;
    REQUIRE(receiver.receive(hello, kStart));
    receiver.welcome(welcome_at(history.at(UpdateNumber(3))), std::chrono::seconds(2));
    return receiver.receive(wire::SeedBegin{history.at(at), {}, 0, over}, kStart).has_value();
  };
  CHECK(offered(history.at(UpdateNumber(3)), UpdateNumber(5)));
  CHECK(offered(history.at(UpdateNumber(3)), UpdateNumber(3)));
  CHECK_FALSE(offered({}, UpdateNumber(5)));
  CHECK_FALSE(offered(history.at(UpdateNumber(2)), UpdateNumber(5)));
  CHECK_FALSE(offered(history.at(UpdateNumber(3)), UpdateNumber(2)));
}

TEST_CASE("damage met while looking up the slave's position is named to it") {
  const History history = history_of(5);
  auto sender = greeted(history, welcome_at(history.at(UpdateNumber(2))));
  const auto verdict =
      sender.compare(history.made(), fail(ErrorCode::kCorrupt, "segment 1 at byte 4096"));
  REQUIRE_FALSE(verdict);
  CHECK(refusal_of(sender) == wire::RefuseReason::kDamaged);
}

TEST_CASE("another protocol and another node's name are refused by name") {
  const History history = history_of(1);
  auto welcome = welcome_at(history.at(UpdateNumber(0)));
  welcome.protocol = wire::kProtocolVersion + 2;
  welcome.protocol_oldest = wire::kProtocolVersion + 1;
  SenderMachine sender(sender_options(history), kStart);
  (void)sender.next_output(kStart);
  auto answer = sender.receive(welcome, kStart);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == ErrorCode::kVersion);
  CHECK(answer.error().text().find("speaks protocol 2 to 3, this node speaks 1") !=
        std::string::npos);
  CHECK(refusal_of(sender) == wire::RefuseReason::kVersion);

  welcome = welcome_at(history.at(UpdateNumber(0)));
  welcome.node_name = "nice";
  SenderMachine second(sender_options(history), kStart);
  (void)second.next_output(kStart);
  answer = second.receive(welcome, kStart);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().text().find("nice") != std::string::npos);
  CHECK(refusal_of(second) == wire::RefuseReason::kPeerUnknown);
}

TEST_CASE("a peer one version newer that still speaks ours is worked with, on both sides") {
  const History history = history_of(1);
  auto welcome = welcome_at(history.at(UpdateNumber(0)));
  welcome.protocol = wire::kProtocolVersion + 1;
  welcome.protocol_oldest = wire::kProtocolVersion;
  SenderMachine sender(sender_options(history), kStart);
  (void)sender.next_output(kStart);
  CHECK(sender.receive(welcome, kStart));
  wire::Hello hello = sender_options(history).hello;
  hello.protocol = wire::kProtocolVersion + 1;
  hello.protocol_oldest = wire::kProtocolVersion;
  ReceiverMachine receiver({}, kStart);
  CHECK(receiver.receive(hello, kStart));
  CHECK(wire::common_protocol(wire::kProtocolVersion, 0) == wire::kProtocolVersion);
  CHECK(wire::common_protocol(wire::kProtocolVersion + 1, 0) == 0);
  CHECK(wire::common_protocol(wire::kProtocolOldest - 1, 0) == 0);
}

TEST_CASE("what a peer refuses calls for the reaction that its reason names") {
  const History history = history_of(1);
  for (const auto& [reason, code] :
       {std::pair{wire::RefuseReason::kNotReady, ErrorCode::kBusy},
        std::pair{wire::RefuseReason::kNotEmpty, ErrorCode::kRefused},
        std::pair{wire::RefuseReason::kDiverged, ErrorCode::kDiverged}}) {
    SenderMachine sender(sender_options(history), kStart);
    const auto answer = sender.receive(wire::Refuse{reason, "because", {}, {}}, kStart);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code() == code);
    CHECK(answer.error().text() == "lyon refuses: because");
  }
}

TEST_CASE("acknowledgements that cannot be are protocol errors") {
  const History history = history_of(5);
  for (const auto& [journaled, applied] : {std::pair{6, 3}, std::pair{2, 2}, std::pair{4, 5}}) {
    auto sender = greeted(history, welcome_at(history.at(UpdateNumber(3)), UpdateNumber(3)));
    REQUIRE(sender.compare(history.made(), history.at(UpdateNumber(3))));
    std::string frames;
    for (int n : {4, 5}) frames += history.parts(UpdateNumber(n))[0];
    sender.add_frames(frames, UpdateNumber(5), true);
    const wire::Acknowledge acknowledge{UpdateNumber(journaled), UpdateNumber(applied)};
    const auto answer = sender.receive(acknowledge, kStart);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code() == ErrorCode::kProtocol);
  }
}

TEST_CASE("before the greeting is done each side takes nothing else") {
  const History history = history_of(1);
  SenderMachine sender(sender_options(history), kStart);
  CHECK_FALSE(sender.receive(wire::Acknowledge{}, kStart));
  ReceiverMachine receiver({}, kStart);
  CHECK_FALSE(receiver.receive(wire::Heartbeat{}, kStart));
  ReceiverMachine second({}, kStart);
  wire::Hello hello = sender_options(history).hello;
  hello.protocol = 9;
  hello.protocol_oldest = 8;
  const auto answer = second.receive(hello, kStart);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == ErrorCode::kVersion);
  CHECK(std::holds_alternative<wire::Refuse>(*second.next_output(kStart)));
}

TEST_CASE("a receiver takes no stream from another number and no seed over a position") {
  const History history = history_of(5);
  for (const bool seed : {false, true}) {
    ReceiverMachine receiver({}, kStart);
    REQUIRE(receiver.receive(sender_options(history).hello, kStart));
    receiver.welcome(welcome_at(history.at(UpdateNumber(3))), std::chrono::seconds(2));
    const wire::Message message =
        seed ? wire::Message(wire::SeedBegin{history.at(UpdateNumber(5)), {}, 0})
             : wire::Message(wire::Stream{UpdateNumber(5)});
    const auto answer = receiver.receive(message, kStart);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code() == ErrorCode::kProtocol);
  }
}

TEST_CASE("a receiver refuses frames that are damaged, repeated, missing or of another group") {
  const History history = history_of(5);
  History other(*GroupId::from_hex("ffffffffffffffffffffffffffffffff"));
  for (int i = 1; i <= 5; ++i) other.add({"body " + std::to_string(i)});
  std::string flipped = history.parts(UpdateNumber(4))[0];
  flipped[journal::kFrameHeaderBytes] ^= 1;
  const std::string cut = history.parts(UpdateNumber(4))[0].substr(0, 130);
  for (const std::string& frames :
       {flipped, cut, history.parts(UpdateNumber(3))[0], history.parts(UpdateNumber(5))[0],
        other.parts(UpdateNumber(4))[0], std::string("nonsense")}) {
    ReceiverMachine receiver({}, kStart);
    REQUIRE(receiver.receive(sender_options(history).hello, kStart));
    receiver.welcome(welcome_at(history.at(UpdateNumber(3))), std::chrono::seconds(2));
    REQUIRE(receiver.receive(wire::Stream{UpdateNumber(4)}, kStart));
    const auto answer = receiver.receive(wire::Frames{frames}, kStart);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code() == ErrorCode::kProtocol);
  }
}
