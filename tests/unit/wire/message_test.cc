// SPDX-License-Identifier: Apache-2.0
#include "common/wire/message.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "common/base/bytes.h"

using namespace hotbackup;
using namespace hotbackup::wire;

namespace {

Position position(std::uint64_t number) {
  return {{3, NodeId(77)}, UpdateNumber(number), {number * 7, ~number}};
}

std::vector<Message> one_of_each() {
  Hello hello;
  hello.program = "hotbackup 0.1.0";
  hello.node_name = "paris";
  hello.node = NodeId(~0ull);
  hello.group = "dns";
  hello.group_id.bytes.fill(0xab);
  hello.published = position(48'100);
  hello.time = WallTime(std::chrono::nanoseconds(1'700'000'000'123'456'789));
  hello.check_period = std::chrono::milliseconds(2000);
  hello.keep_local = {{"zones", *update::KeepLocalRules::parse({"licence", "settings:host.*"})}};
  Welcome welcome;
  welcome.node_name = "lyon";
  welcome.journaled = position(5);
  welcome.applied = UpdateNumber(4);
  SeedBegin begin{position(9), {}, 12};
  update::EnvironmentBody environment;
  environment.number = EnvironmentNumber(2);
  environment.name = "zones-2";
  environment.configured = "zones";
  environment.match = "-\xff";
  environment.map_bytes = 1 << 30;
  environment.mode = 0660;
  environment.owner = "pdns";
  begin.environments = {environment, environment};
  return {hello,
          welcome,
          Refuse{RefuseReason::kOldEpoch, "two histories", {4, NodeId(5)}, "lyon"},
          Stream{UpdateNumber(6)},
          begin,
          SeedPart{EnvironmentNumber(2), std::string("body\0with zero", 14)},
          SeedEnd{12},
          Frames{std::string(100'000, 'f')},
          Acknowledge{UpdateNumber(8), UpdateNumber(7)},
          Heartbeat{WallTime{}, position(10), UpdateNumber(8), UpdateNumber(7)}};
}

}  // namespace

TEST_CASE("every message comes back from its bytes as it was") {
  for (const Message& message : one_of_each()) {
    const std::string bytes = encode(message);
    CHECK(load_le<std::uint32_t>(bytes.data()) == bytes.size() - kPrefixBytes);
    const auto back = decode(std::string_view(bytes).substr(kPrefixBytes));
    REQUIRE_MESSAGE(back, back.error().text());
    CHECK(back->index() == message.index());
    CHECK(encode(*back) == bytes);
  }
  const auto back = decode(std::string_view(encode(one_of_each()[0])).substr(kPrefixBytes));
  const Hello& hello = std::get<Hello>(*back);
  CHECK(hello.node_name == "paris");
  CHECK(hello.published == position(48'100));
  CHECK(hello.check_period == std::chrono::milliseconds(2000));
  CHECK(hello.keep_local == std::get<Hello>(one_of_each()[0]).keep_local);
}

TEST_CASE("messages are put together wherever their bytes were cut") {
  std::string stream;
  for (const Message& message : one_of_each()) stream += encode(message);
  for (const std::size_t piece : {1ul, 2ul, 3ul, 7ul, 1000ul, stream.size()}) {
    MessageReader reader(kMessageBytesMax);
    std::size_t count = 0;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      const std::size_t size = std::min(piece, stream.size() - at);
      std::memcpy(reader.prepare(size), stream.data() + at, size);
      reader.commit(size);
      while (true) {
        const auto message = reader.next();
        REQUIRE(message);
        if (!*message) break;
        CHECK((*message)->index() == count++);
      }
    }
    CHECK(count == one_of_each().size());
  }
}

TEST_CASE("a stranger's message over the limit is refused by its length alone") {
  MessageReader reader;
  const std::string large = encode(Frames{std::string(kGreetingBytesMax, 'x')});
  std::memcpy(reader.prepare(8), large.data(), 8);
  reader.commit(8);
  const auto message = reader.next();
  REQUIRE_FALSE(message);
  CHECK(message.error().code() == ErrorCode::kProtocol);
}

TEST_CASE("names longer than any may be are refused with their length") {
  const auto refusal = [](const Message& message) {
    const auto back = decode(std::string_view(encode(message)).substr(kPrefixBytes));
    REQUIRE_FALSE(back);
    CHECK(back.error().code() == ErrorCode::kProtocol);
    return back.error().text();
  };
  const std::string name(kNameBytesMax + 1, 'x');
  Hello hello;
  hello.node_name = name;
  CHECK(refusal(hello) == "a node's name of 72 bytes, more than 71");
  hello.node_name = "paris";
  hello.group = name;
  CHECK(refusal(hello) == "a group's name of 72 bytes, more than 71");
  hello.group = "dns";
  hello.program = std::string(kProgramBytesMax + 1, 'x');
  CHECK(refusal(hello).starts_with("a program's name of 201"));
  Welcome welcome;
  welcome.node_name = name;
  CHECK(refusal(welcome).starts_with("a node's name"));
  SeedBegin begin;
  begin.environments.resize(1);
  begin.environments[0].number = EnvironmentNumber(1);
  begin.environments[0].owner = name;
  CHECK(refusal(begin).starts_with("a user's name"));
  begin.environments[0].owner = "pdns";
  begin.environments[0].match = std::string(256, 'x');
  CHECK(refusal(begin).starts_with("a part of a file's name"));
}

TEST_CASE("truncated and random bytes are protocol errors and never crash") {
  std::mt19937 random(20261121);
  for (const Message& message : one_of_each()) {
    const std::string bytes = encode(message).substr(kPrefixBytes);
    for (std::size_t size = 0; size < std::min<std::size_t>(bytes.size(), 300); ++size)
      (void)decode(std::string_view(bytes).substr(0, size));
    for (int round = 0; round < 300; ++round) {
      std::string damaged = bytes.substr(0, 500);
      for (int i = 0; i < 4; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
      const auto result = decode(damaged);
      if (result)
        (void)encode(*result);
      else
        CHECK(result.error().code() != ErrorCode::kIo);
    }
  }
  for (int round = 0; round < 2000; ++round) {
    std::string noise(random() % 200, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    (void)decode(noise);
    MessageReader reader;
    std::memcpy(reader.prepare(noise.size()), noise.data(), noise.size());
    reader.commit(noise.size());
    while (true) {
      const auto message = reader.next();
      if (!message || !*message) break;
    }
  }
}

TEST_CASE("a refusal's text survives bytes that are not text") {
  const std::string bytes =
      encode(Refuse{RefuseReason::kNotEmpty, "path /a\xff\n holds items", {}, {}});
  const auto back = decode(std::string_view(bytes).substr(kPrefixBytes));
  REQUIRE(back);
  CHECK(std::get<Refuse>(*back).text == "path /a?? holds items");
}
