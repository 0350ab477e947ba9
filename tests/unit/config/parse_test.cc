// SPDX-License-Identifier: Apache-2.0
// What a correct file means.
#include <doctest/doctest.h>

#include "common/config/configuration.h"

namespace hotbackup::config {
namespace {

using namespace std::chrono_literals;

Configuration good(std::string_view text) {
  auto parsed = parse(text, "t.toml");
  const std::string why = parsed ? "" : parsed.error().text();
  CAPTURE(why);
  REQUIRE(parsed);
  return std::move(*parsed);
}

constexpr const char* kFull = R"(
[node]
name = "paris"
state = "/srv/hb/"
listen = "127.0.0.1"
status = "off"
smtp = "mail:26"
heartbeat_url = "https://example.com/ping"
[[notify]]
to = "mailto:ops@example.com"
from = "error"
groups = ["dns", "dsn"]
[[peer]]
name = "lyon"
address = ["127.0.0.1:2001", "[::1]:2002"]
rate = "50 MB/s"
[[peer]]
name = "nice"
address = ["nice.example.com"]
fingerprint = "SHA256:abcdefghijklmnopqrstuvwxyz0123456789+/ABCDE"
[[group]]
name = "dns"
peers = ["lyon", "nice"]
user = "pdns"
mode = "0640"
loss_limit = "10 s"
at_limit = "alarm"
wait_max = "1 s"
wait_for = "applied"
acknowledge = 2
lease = "off"
boot_wait = "off"
rejoin = "ask"
check_period = "500 ms"
test_period = "off"
apply = "paused"
keep_journal = "off"
journal_limit = "1 TB"
at_journal_limit = "refuse"
archive = "cp %p /archive/%f"
files = ["/etc/pdns/pdns.conf"]
rpo = "1 min"
rto = "5 min"
before_promote = ""
segment_size = "1 MB"
[group.reports]
zones = "/usr/local/bin/zone-report"
[group.saves]
full = "off"
into = []
verify = "read"
  [[group.env]]
  name = "zones"
  path = "/var/lib/powerdns/pdns.lmdb*"
  capture = "library"
  durability = "plain"
  keep_local = []
  [[group.env]]
  name = "other"
[[group]]
name = "mail"
)";

}  // namespace

TEST_CASE("the smallest file is a node's name, and everything else has its default") {
  const Configuration c = good("[node]\nname = \"paris\"\n");
  CHECK(c.node.name == "paris");
  CHECK(c.node.state == "/var/lib/hotbackup");
  CHECK(c.node.listen == Address{"0.0.0.0", 2000});
  CHECK(c.groups.empty());
  CHECK(c.warnings.empty());
  CHECK(c.source == "t.toml");
}

TEST_CASE("every key is read to its typed value") {
  const Configuration c = good(kFull);
  CHECK(c.node.state == "/srv/hb");
  CHECK(c.node.listen == Address{"127.0.0.1", 2000});
  CHECK_FALSE(c.node.status);
  CHECK(c.node.smtp == Address{"mail", 26});
  CHECK(c.node.heartbeat_url == "https://example.com/ping");
  REQUIRE(c.notify.size() == 1);
  CHECK(c.notify[0].from == Severity::kError);
  REQUIRE(c.peers.size() == 2);
  CHECK(c.peers[0].addresses == std::vector<Address>{{"127.0.0.1", 2001}, {"::1", 2002}});
  CHECK(c.peers[0].rate_bytes_per_second == 50'000'000u);
  CHECK(c.peers[1].addresses == std::vector<Address>{{"nice.example.com", 2000}});
  REQUIRE(c.peers[1].fingerprints.size() == 1);
  CHECK(c.peers[1].fingerprints[0].starts_with("SHA256:abc"));
  REQUIRE(c.groups.size() == 2);
  const Group& g = c.groups[0];
  CHECK(g.peers == std::vector<std::string>{"lyon", "nice"});
  CHECK(g.user == "pdns");
  CHECK(g.mode == 0640);
  CHECK(g.loss_limit == LossLimit{.kind = LossLimit::Kind::kTime, .time = 10s});
  CHECK(g.wait_max == 1s);
  CHECK(g.wait_for == WaitFor::kApplied);
  CHECK(g.acknowledge == Acknowledge{Acknowledge::Kind::kCount, 2});
  CHECK_FALSE(g.boot_wait);
  CHECK(g.rejoin == Rejoin::kAsk);
  CHECK(g.check_period == 500ms);
  CHECK_FALSE(g.test_period);
  CHECK_FALSE(g.keep_journal);
  CHECK(g.journal_limit_bytes == 1'000'000'000'000u);
  CHECK(g.journal_limit_set);
  CHECK(g.at_journal_limit == AtJournalLimit::kRefuse);
  CHECK(g.archive == "cp %p /archive/%f");
  CHECK(g.files == std::vector<std::string>{"/etc/pdns/pdns.conf"});
  CHECK(g.rpo == 1min);
  CHECK(g.rto == 5min);
  CHECK(g.segment_bytes == 1 << 20);
  CHECK(g.reports.at("zones") == "/usr/local/bin/zone-report");
  REQUIRE(g.environments.size() == 2);
  CHECK(g.environments[0].path == "/var/lib/powerdns/pdns.lmdb*");
  CHECK(g.environments[0].is_pattern());
  CHECK(g.environments[1].path.empty());
}

TEST_CASE("a group has the documented defaults") {
  const Group g = good("[node]\nname='a'\n[[group]]\nname='g'\n").groups.at(0);
  CHECK(g.mode == 0660);
  CHECK(g.check_period == 2s);
  CHECK(g.keep_journal == 24h);
  CHECK(g.segment_bytes == 32 << 20);
  CHECK(g.journal_limit_bytes == 50'000'000'000u);
  CHECK_FALSE(g.journal_limit_set);
  CHECK(g.at_journal_limit == AtJournalLimit::kForgetSlave);
  CHECK(g.archive.empty());
  CHECK(g.loss_limit == LossLimit{.kind = LossLimit::Kind::kTime, .time = 10s});
  CHECK(g.at_limit == AtLimit::kAlarm);
  CHECK(g.wait_max == 5s);
  CHECK(g.wait_for == WaitFor::kJournaled);
  CHECK(g.acknowledge == Acknowledge{});
  CHECK(g.environments.empty());
}

TEST_CASE("a group in [[notify]] that does not exist is a warning, and the only one") {
  const Configuration c = good(kFull);
  REQUIRE(c.warnings.size() == 1);
  CHECK(c.warnings[0] == "t.toml:12:18: 'groups' in [[notify]]: there is no group 'dsn'");
}

TEST_CASE("a peer whose key changes has two fingerprints") {
  const std::string old_key = "SHA256:" + std::string(42, 'a') + "A";
  const std::string new_key = "SHA256:" + std::string(42, 'b') + "A";
  const std::string peer = "[node]\nname='a'\n[[peer]]\nname='b'\naddress=['b.example']\n";
  const Configuration c = good(peer + "fingerprint = ['" + old_key + "', '" + new_key + "']\n");
  CHECK(c.peers[0].fingerprints == std::vector{old_key, new_key});
  CHECK(good(describe(c)).peers[0].fingerprints == c.peers[0].fingerprints);
}

TEST_CASE("a group is found by name, and by no name if it is the only one") {
  const std::string text = "[node]\nname='a'\n[[group]]\nname='dns'\n";
  const Configuration one = good(text);
  CHECK((*find_group(one, ""))->name == "dns");
  CHECK((*find_group(one, "dns"))->name == "dns");
  const auto unknown = find_group(one, "mail");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == ErrorCode::kConfig);
  CHECK(unknown.error().text() == "no group 'mail': there is dns");
  const Configuration two = good(text + "[[group]]\nname='mail'\n");
  CHECK((*find_group(two, "mail"))->name == "mail");
  CHECK(find_group(two, "").error().text() == "which group? there are dns, mail");
  CHECK_FALSE(find_group(good("[node]\nname='a'\n"), ""));
}

TEST_CASE("a peer is found by name") {
  const Configuration c = good("[node]\nname='a'\n[[peer]]\nname='b'\n");
  REQUIRE(find_peer(c, "b") != nullptr);
  CHECK(find_peer(c, "b")->addresses.empty());
  CHECK(find_peer(c, "a") == nullptr);
}

TEST_CASE("the owner is the system's user of that name") {
  Group group;
  CHECK_FALSE(resolve_owner(group).value().has_value());
  group.user = "root";
  CHECK(resolve_owner(group).value()->uid == 0);
  group.name = "dns";
  group.user = "no-such-user-here";
  const auto unknown = resolve_owner(group);
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == ErrorCode::kConfig);
  CHECK(unknown.error().text().find("'no-such-user-here'") != std::string::npos);
}

TEST_CASE("a loss limit is read in each of its kinds") {
  const auto limited = [](const std::string& lines) {
    return good(
        "[node]\nname='a'\n[[peer]]\nname='b'\naddress=['127.0.0.1:1']\n"
        "[[group]]\nname='g'\npeers=['b']\n" +
        lines);
  };
  using Kind = LossLimit::Kind;
  CHECK_FALSE(limited("loss_limit = 'off'\n").groups[0].loss_limit);
  CHECK(limited("loss_limit = '0'\n").groups[0].loss_limit == LossLimit{});
  CHECK(limited("loss_limit = '100 updates'\n").groups[0].loss_limit ==
        LossLimit{.kind = Kind::kUpdates, .updates = 100});
  CHECK(limited("loss_limit = '1 MB'\n").groups[0].loss_limit ==
        LossLimit{.kind = Kind::kBytes, .bytes = 1'000'000});
  const Configuration c = limited("loss_limit = '0'\nat_limit = 'refuse'\nwait_max = 'off'\n");
  CHECK(c.groups[0].at_limit == AtLimit::kRefuse);
  CHECK_FALSE(c.groups[0].wait_max);
  CHECK(c.warnings.empty());
}

TEST_CASE("a loss limit without peers is warned of") {
  const Configuration c = good("[node]\nname='a'\n[[group]]\nname='g'\nloss_limit='1 s'\n");
  REQUIRE(c.warnings.size() == 1);
  CHECK(c.warnings[0].find("without peers nothing is acknowledged") != std::string::npos);
}

TEST_CASE("keep-local rules are read, in one spelling, and what is wrong with them is said") {
  const auto with = [](const std::string& list) {
    return "[node]\nname = 'paris'\n[[group]]\nname = 'g'\n[[group.env]]\nname = 'e'\nkeep_local "
           "= " +
           list + "\n";
  };
  const Configuration c = good(with("['settings:0x686f7374*', 'licence', ':own']"));
  CHECK(c.groups[0].environments[0].keep_local.texts() ==
        std::vector<std::string>{":own", "licence", "settings:host*"});
  CHECK(good(describe(c)).groups[0].environments[0].keep_local ==
        c.groups[0].environments[0].keep_local);
  const auto error = [&](const std::string& list) {
    const auto parsed = parse(with(list), "t.toml");
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == ErrorCode::kConfig);
    return parsed.error().text();
  };
  CHECK(error("['a', 'b:']").starts_with("t.toml:7:20: "));
  CHECK(error("['b:']").find("no key after ':'") != std::string::npos);
  CHECK(error("['a:x', 'a:0x78']").find("stands here twice") != std::string::npos);
  CHECK(error("['" + std::string(500, 'a') + "', '" + std::string(500, 'b') + "', '" +
              std::string(500, 'c') + "', '" + std::string(500, 'd') + "']")
            .find("too long") != std::string::npos);
  CHECK(error("['a']\ndurability = 'journal'").find("does not go together with durability") !=
        std::string::npos);
  const Configuration covered = good(with("['settings', 'settings:host.*']"));
  REQUIRE(covered.warnings.size() == 1);
  CHECK(covered.warnings[0].find("'settings:host.*' adds nothing to 'settings'") !=
        std::string::npos);
}

}  // namespace hotbackup::config
