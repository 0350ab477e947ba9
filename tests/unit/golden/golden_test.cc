// SPDX-License-Identifier: Apache-2.0
// Bytes that other programs of other versions have written, and that they read: tests/unit/golden.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "common/base/bytes.h"
#include "common/control/group_file.h"
#include "common/control/layout.h"
#include "common/journal/frame.h"
#include "common/update/codec.h"
#include "common/wire/message.h"

using namespace hotbackup;

namespace {

namespace fs = std::filesystem;

using Lines = std::vector<std::pair<std::string, std::string>>;

std::string path_of(const std::string& name) {
  return std::string(HOTBACKUP_GOLDEN) + "/" + name;
}

std::string content(const std::string& name) {
  std::ifstream file(path_of(name), std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string as_text(const Lines& lines) {
  std::string text;
  for (const auto& [name, value] : lines) text += name + " " + value + "\n";
  return text;
}

/// What this program writes is what the file holds; with HOTBACKUP_WRITE_GOLDEN the file is made.
void check_same(const std::string& name, const std::string& text) {
  if (std::getenv("HOTBACKUP_WRITE_GOLDEN") != nullptr)
    std::ofstream(path_of(name), std::ios::binary) << text;
  const std::string golden = content(name);
  REQUIRE_MESSAGE(!golden.empty(), name);
  std::istringstream wanted(golden), got(text);
  std::string a, b;
  while (std::getline(wanted, a)) {
    std::getline(got, b);
    CHECK(a == b);
  }
  CHECK(golden.size() == text.size());
}

std::map<std::string, std::string> bytes_in(const std::string& name) {
  std::map<std::string, std::string> found;
  std::istringstream lines(content(name));
  std::string key, digits;
  while (lines >> key >> digits) found[key] = unhex(digits).value();
  return found;
}

GroupId group_id() {
  GroupId id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<std::uint8_t>(i + 1);
  return id;
}
Position position(std::uint64_t number) {
  return {{3, NodeId(77)}, UpdateNumber(number), {0x1122334455667788, 0x99aabbccddeeff00}};
}

std::string update_body() {
  std::string bytes;
  update::BodyWriter writer(bytes);
  const update::Database main{true, {}, 0};
  const update::Database words{false, "words", 4};
  using Kind = update::OperationKind;
  writer.add({Kind::kCreate, words, {}, {}, 0});
  writer.add({Kind::kPut, words, "key", "value", 0});
  writer.add({Kind::kDeletePair, words, "key", "old", 0});
  writer.add({Kind::kDeleteKey, words, "gone", {}, 0});
  writer.add({Kind::kPut, main, std::string_view("\0\xff", 2), "", 0});
  writer.add({Kind::kPutLarge, main, "big", {}, 4});
  writer.add({Kind::kValuePart, main, {}, "part", 0});
  writer.add({Kind::kDrop, words, {}, {}, 0});
  return bytes;
}

update::EnvironmentBody environment() {
  update::EnvironmentBody body;
  body.number = EnvironmentNumber(2);
  body.name = "zones-2";
  body.configured = "zones";
  body.match = "-2";
  body.subdirectory = false;
  body.map_bytes = 1 << 30;
  body.mode = 0660;
  body.owner = "pdns";
  return body;
}

std::vector<update::EnvironmentRules> rules() {
  return {{"zones", *update::KeepLocalRules::parse({"licence", "settings:host.*"})}};
}

journal::FrameHeader header() {
  journal::FrameHeader header;
  header.last_part = true;
  header.no_sync = true;
  header.body_bytes = static_cast<std::uint32_t>(update_body().size());
  header.group = group_id();
  header.epoch = {3, NodeId(77)};
  header.number = UpdateNumber(48'100);
  header.update_bytes = journal::frame_bytes(header.body_bytes);
  header.environment = EnvironmentNumber(2);
  header.undurable = 1;
  header.txnid = TxnId(500);
  header.commit_time = WallTime(std::chrono::nanoseconds(1'700'000'000'123'456'789));
  header.body_hash = hash64(update_body());
  header.chain = {0x1122334455667788, 0x99aabbccddeeff00};
  return header;
}

wire::Ask ask() {
  wire::Ask ask;
  ask.program = "hotbackup 0.1.0";
  ask.node_name = "paris";
  ask.node = NodeId(77);
  ask.group = "dns";
  ask.group_id = group_id();
  ask.kind = wire::Ask::Kind::kTakeOver;
  ask.epoch = {4, NodeId(78)};
  ask.token = 99;
  ask.number = UpdateNumber(48'100);
  return ask;
}

wire::Answer answer() {
  wire::Answer answer;
  answer.node_name = "lyon";
  answer.node = NodeId(78);
  answer.group_id = group_id();
  answer.role = 2;
  answer.journaled = position(48'100);
  answer.applied = UpdateNumber(48'100);
  answer.known = {3, NodeId(77)};
  answer.master = "paris";
  return answer;
}

std::vector<wire::Message> messages() {
  wire::Hello hello;
  hello.program = "hotbackup 0.1.0";
  hello.node_name = "paris";
  hello.node = NodeId(77);
  hello.group = "dns";
  hello.group_id = group_id();
  hello.published = position(48'100);
  hello.time = WallTime(std::chrono::nanoseconds(1'700'000'000'123'456'789));
  hello.check_period = std::chrono::milliseconds(2000);
  hello.keep_local = rules();
  wire::Welcome welcome;
  welcome.program = "hotbackup 0.1.0";
  welcome.node_name = "lyon";
  welcome.node = NodeId(78);
  welcome.journaled = position(5);
  welcome.applied = UpdateNumber(4);
  welcome.time = hello.time;
  welcome.check_period = hello.check_period;
  wire::SeedBegin begin{position(9), {environment()}, 12, position(5)};
  return {hello,
          welcome,
          wire::Refuse{wire::RefuseReason::kDiverged, "two histories"},
          wire::Stream{UpdateNumber(6)},
          begin,
          wire::SeedPart{EnvironmentNumber(2), update_body()},
          wire::SeedEnd{12},
          wire::Frames{"frames"},
          wire::Acknowledge{UpdateNumber(8), UpdateNumber(7)},
          wire::Heartbeat{hello.time, position(10), UpdateNumber(8), UpdateNumber(7)},
          ask(),
          answer()};
}

}  // namespace

TEST_CASE("a frame is read and written as its golden bytes") {
  journal::FrameHeader written = header();
  std::string bytes(journal::kFrameHeaderBytes, '\0');
  journal::encode(written, bytes.data());
  check_same("frame-1.hex", as_text({{"update", hex(bytes)}}));
  const auto read = journal::decode(bytes_in("frame-1.hex")["update"]);
  REQUIRE(read);
  CHECK(read->number == UpdateNumber(48'100));
  CHECK(read->epoch == Epoch{3, NodeId(77)});
  CHECK(read->group == group_id());
  CHECK(read->chain == header().chain);
  CHECK(read->commit_time == header().commit_time);
  CHECK(read->undurable == 1);
  CHECK((read->last_part && read->no_sync && !read->kept_local));
}

TEST_CASE("bodies are read and written as their golden bytes") {
  check_same("bodies-1.hex",
             as_text({{"update", hex(update_body())},
                      {"environment", hex(update::write_environment(environment()))},
                      {"baseline",
                       hex(update::write_baseline({NodeId(77), EnvironmentNumber(2), TxnId(500)}))},
                      {"epoch", hex(update::write_epoch({{3, NodeId(77)}, "paris"}))},
                      {"rules", hex(update::write_rules(rules()))}}));
  auto golden = bytes_in("bodies-1.hex");
  int operations = 0;
  REQUIRE(update::read_body(golden["update"], [&](const update::Operation&) -> Result<> {
    ++operations;
    return {};
  }));
  CHECK(operations == 8);
  CHECK(update::read_environment(golden["environment"])->owner == "pdns");
  CHECK(update::read_baseline(golden["baseline"])->txnid == TxnId(500));
  CHECK(update::read_epoch(golden["epoch"])->node_name == "paris");
  CHECK(update::read_rules(golden["rules"]).value() == rules());
}

TEST_CASE("messages of protocol 1 are read and written as their golden bytes") {
  Lines lines;
  for (const wire::Message& message : messages()) {
    std::string name(wire::message_name(message));
    for (char& c : name)
      if (c == ' ') c = '-';
    lines.emplace_back(name, hex(wire::encode(message)));
  }
  check_same("messages-1.hex", as_text(lines));
  auto golden = bytes_in("messages-1.hex");
  CHECK(golden.size() == messages().size());
  for (const auto& [name, bytes] : golden) {
    const auto read = wire::decode(std::string_view(bytes).substr(wire::kPrefixBytes));
    REQUIRE_MESSAGE(read, name);
    CHECK(wire::encode(*read) == bytes);
  }
  const auto hello = wire::decode(std::string_view(golden["hello"]).substr(wire::kPrefixBytes));
  CHECK(std::get<wire::Hello>(*hello).published == position(48'100));
  CHECK(std::get<wire::Hello>(*hello).keep_local == rules());
}

TEST_CASE("group.toml is read and written as its golden text") {
  control::GroupRecord record;
  record.id = group_id();
  record.name = "dns";
  record.node_name = "paris";
  record.node = NodeId(77);
  record.role = control::Role::kMaster;
  record.permissions = {101, 102, 0660};
  record.limit.kind = control::LimitKind::kTime;
  record.limit.amount = 10'000'000'000;
  record.known_epoch = {3, NodeId(77)};
  record.peers = {"lyon", "nice"};
  record.patterns = {{"zones", "/var/lib/powerdns/pdns.lmdb*"}};
  record.environments = {{EnvironmentNumber(2), "zones-2", "zones", "-2",
                          "/var/lib/powerdns/pdns.lmdb-2", false, UpdateNumber(17)}};
  record.keep_local = rules();
  const fs::path copy = fs::temp_directory_path() / ("golden." + std::to_string(::getpid()));
  fs::create_directory(copy);
  const auto written = control::write_group_file(copy, record);
  std::ifstream file(copy / "group.toml", std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  fs::remove_all(copy);
  REQUIRE(written);
  check_same("group.toml", text.str());

  const auto read = control::read_group_file(HOTBACKUP_GOLDEN);
  REQUIRE(read);
  CHECK(read->id == group_id());
  CHECK(read->role == control::Role::kMaster);
  CHECK(read->peers == record.peers);
  CHECK(read->permissions.gid == 102);
  REQUIRE(read->environments.size() == 1);
  CHECK(read->environments[0].match == "-2");
  CHECK(read->environments[0].unlogged_at == UpdateNumber(17));
  CHECK(read->keep_local == rules());
  CHECK(read->limit.kind == control::LimitKind::kTime);
}

#define AT(field) \
  { #field, std::to_string(offsetof(control::Layout, field)) }

// Programs that were started before an upgrade map the same file: what moves needs a new version.
TEST_CASE("the control file's layout is the one of its version") {
  const std::string name = "control-" + std::to_string(control::kVersion) + ".txt";
  check_same(name, as_text({{"version", std::to_string(control::kVersion)},
                            {"bytes", std::to_string(sizeof(control::Layout))},
                            AT(magic),
                            AT(version),
                            AT(ready),
                            AT(boot),
                            AT(group),
                            AT(node),
                            AT(group_name),
                            AT(uid),
                            AT(role),
                            AT(epoch_counter),
                            AT(master_name),
                            AT(tail),
                            AT(published_wake),
                            AT(acknowledged_wake),
                            AT(applied),
                            AT(journal_limit),
                            AT(apply_wake),
                            AT(apply_stopped_at),
                            AT(pattern_count),
                            AT(peer_count),
                            AT(patterns),
                            AT(peers),
                            AT(servers),
                            AT(recovery_lock),
                            AT(incident_lock),
                            AT(incidents),
                            AT(exposure),
                            AT(environments),
                            AT(keep_local_sequence),
                            AT(keep_local),
                            AT(roles),
                            {"environment", std::to_string(sizeof(control::EnvironmentEntry))},
                            {"slot", std::to_string(offsetof(control::EnvironmentEntry, slot))},
                            {"peer", std::to_string(sizeof(control::PeerEntry))},
                            {"incident", std::to_string(sizeof(control::IncidentEntry))}}));
}
