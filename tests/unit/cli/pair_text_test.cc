// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/pair_text.h"

#include <doctest/doctest.h>

using namespace hotbackup;
using namespace hotbackup::cli;

namespace {

const std::string kKey = "SHA256:" + std::string(42, 'a') + "A";
const NewPeer kLyon{"lyon", {"lyon.example.com", 2000}, kKey};

constexpr char kMaster[] = R"(# paris
[node]
name = "paris"

# the DNS
[[group]]
name = "dns"
mode = "0640"
archive = "cp %p /archive/%f"
check_period = "500 ms"  # quick

  [[group.env]]
  name = "zones"
  path = "/var/lib/powerdns/pdns.lmdb*"
  keep_local = ["licence"]
)";

config::Configuration good(const std::string& text) {
  auto parsed = config::parse(text, "t");
  if (!parsed) FAIL(parsed.error().text());
  return *parsed;
}

}  // namespace

TEST_CASE("a new peer stands before the groups and in them, and every other line stays") {
  const auto present = good(kMaster);
  const auto edit = introduce(kMaster, "t", kLyon, shapes_of(present, {}));
  REQUIRE(edit);
  const auto after = good(edit->text);
  REQUIRE(after.peers.size() == 1);
  CHECK(after.peers[0].addresses[0] == kLyon.address);
  CHECK(after.peers[0].fingerprints == std::vector{kKey});
  CHECK(after.groups[0].peers == std::vector<std::string>{"lyon"});
  CHECK(after.groups[0].archive == "cp %p /archive/%f");
  CHECK(edit->changes.size() == 2);
  for (const char* line : {"# paris\n", "check_period = \"500 ms\"  # quick\n",
                           "[[peer]]\nname = \"lyon\"\n", "\n\n# the DNS\n[[group]]\n"})
    CHECK_MESSAGE(edit->text.find(line) != std::string::npos, line);
  const auto again = introduce(edit->text, "t", kLyon, shapes_of(present, {}));
  REQUIRE(again);
  CHECK(again->text == edit->text);
  CHECK(again->changes.empty());
}

TEST_CASE(
    "a peer that waits for its fingerprint gets it, its address stays, and a new key replaces") {
  const std::string text = std::string(
                               "[node]\nname = 'paris'\n[[peer]]\n  name = 'lyon'\n"
                               "  address = ['10.0.0.2']\n[[group]]\nname = 'dns'\n") +
                           "peers = [\n  'lyon',\n]\n";
  CHECK_FALSE(config::parse(text, "t"));
  const auto edit = introduce(text, "t", kLyon, {});
  REQUIRE(edit);
  CHECK(good(edit->text).peers[0].addresses == std::vector<config::Address>{{"10.0.0.2", 2000}});
  const std::string other = "SHA256:" + std::string(42, 'b') + "A";
  const auto changed = introduce(edit->text, "t", {"lyon", kLyon.address, other}, {});
  REQUIRE(changed);
  CHECK(good(changed->text).peers[0].fingerprints == std::vector{other});
  const NewPeer nice{"nice", {"10.0.0.3", 2000}, kKey};
  const auto second = introduce(changed->text, "t", nice, {GroupShape{"dns", {}, {}}});
  REQUIRE(second);
  CHECK(good(second->text).groups[0].peers == std::vector<std::string>{"lyon", "nice"});
}

TEST_CASE("a node without groups gets them as a person would write them, without commands") {
  const auto shapes = shapes_of(good(kMaster), {});
  const auto sent = decode_introduction(encode({"paris", "", 2000, shapes}));
  REQUIRE(sent);
  CHECK(sent->node == "paris");
  CHECK(sent->port == 2000);
  const NewPeer paris{"paris", {"192.0.2.1", 2000}, kKey};
  const auto edit = introduce(fresh_configuration("lyon"), "t", paris, sent->groups);
  REQUIRE(edit);
  const auto after = good(edit->text);
  CHECK(after.node.name == "lyon");
  REQUIRE(after.groups.size() == 1);
  CHECK(after.groups[0].peers == std::vector<std::string>{"paris"});
  CHECK(after.groups[0].mode == 0640);
  CHECK(after.groups[0].archive.empty());
  CHECK(after.groups[0].environments[0].path == "/var/lib/powerdns/pdns.lmdb*");
  CHECK(after.groups[0].environments[0].keep_local.texts() == std::vector<std::string>{"licence"});
  CHECK(edit->text.find("journal_limit") == std::string::npos);
}

TEST_CASE("groups may be chosen") {
  CHECK(shapes_of(good(kMaster), {"mail"}).empty());
  CHECK(shapes_of(good(kMaster), {"dns"}).size() == 1);
}

TEST_CASE("what cannot be put in is said, with what to write by hand") {
  const auto same = introduce(fresh_configuration("lyon"), "t", kLyon, {});
  REQUIRE_FALSE(same);
  CHECK(same.error().code() == ErrorCode::kConfig);
  const std::string inline_table =
      "node = {name = 'paris'}\npeer = [{name = 'lyon', address = ['127.0.0.1']}]\n";
  const auto odd = introduce(inline_table, "t", kLyon, {});
  REQUIRE_FALSE(odd);
  CHECK(odd.error().text().find("write it by hand") != std::string::npos);
  GroupShape wrong{"dns", {{"mode", "no mode"}}, {}};
  CHECK_FALSE(introduce(fresh_configuration("paris"), "t", kLyon, {wrong}));
}

TEST_CASE("an introduction that is none, or holds names of another kind, is refused") {
  for (
      const char* text :
      {"", "{", "[]", "{}", "17", R"({"node": 3})", R"({"node": "a b", "address": "", "port": 1})",
       R"({"node": "a", "address": "", "port": 0})",
       R"({"node": "a", "address": "", "port": 70000})",
       R"({"node": "a", "address": "", "port": "x"})",
       R"({"node": "a", "address": "", "port": 1, "groups": [{"name": "../x"}]})",
       R"({"node": "a", "address": "", "port": 1, "groups": [{"name": "g", "env": [{"name": 3}]}]})",
       R"({"node": "a", "address": "", "port": 1, "groups": [{"name": "g", "settings": 3}]})"}) {
    CHECK_FALSE_MESSAGE(decode_introduction(text), text);
  }
  const auto kept = decode_introduction(
      R"({"node": "a", "address": "", "port": 1,
          "groups": [{"name": "g", "settings": {"archive": "rm %p", "mode": "0600"}}]})");
  REQUIRE(kept);
  CHECK(kept->groups[0].settings.size() == 1);
}
