// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "common/config/configuration.h"

namespace hotbackup::config {
namespace {

constexpr const char* kText = R"(
[node]
name = "paris"
status = "off"
[[notify]]
to = "exec:/bin/say \"a\\b\" \u0001\u007F é"
[[peer]]
name = "lyon"
address = ["[::1]:2001"]
rate = "1 MiB/s"
[[group]]
name = "dns"
peers = ["lyon"]
user = "pdns"
loss_limit = "10 s"
acknowledge = 1
keep_journal = "36 h"
segment_size = "3 MB"
[group.reports]
zones = "a 'b' \"c\""
[group.saves]
full = "weekly sat 02:05"
differential = "15 min"
into = ["/backup/dns", "/mnt/dns"]
keep = "14 days"
verify = "read"
filter = "age -r x"
  [[group.env]]
  name = "zones"
  path = "/var/lib/powerdns/pdns.lmdb*"
  [[group.env]]
  name = "copy"
[[group]]
name = "empty"
)";

Configuration good(std::string_view text) {
  auto parsed = parse(text, "t.toml");
  const std::string why = parsed ? "" : parsed.error().text();
  CAPTURE(why);
  CAPTURE(text);
  REQUIRE(parsed);
  return std::move(*parsed);
}

}  // namespace

TEST_CASE("what is printed parses to the same configuration") {
  const Configuration first = good(kText);
  const std::string text = describe(first);
  const Configuration second = good(text);
  auto a = to_json(first);
  auto b = to_json(second);
  a.erase("warnings");
  b.erase("warnings");
  CHECK(a == b);
  CHECK(describe(second) == text);
  CHECK(second.notify.at(0).to == first.notify.at(0).to);
  const Saves& saves = second.groups.at(0).saves;
  CHECK(saves.full == Schedule{Schedule::Kind::kWeekly, 6, 125, {}});
  CHECK(saves.differential == std::chrono::minutes(15));
  CHECK(saves.into == std::vector<std::string>{"/backup/dns", "/mnt/dns"});
  CHECK(saves.keep == std::chrono::days(14));
  CHECK(saves.verify == Verify::kRead);
  CHECK(text.find("full = \"weekly SAT 02:05\"") != std::string::npos);
  CHECK(second.groups.at(0).reports == first.groups.at(0).reports);
  CHECK(describe(good("[node]\nname='a'\n")).find("[[") == std::string::npos);
}

TEST_CASE("every key is printed with the value in force") {
  const std::string text = describe(good(kText));
  CHECK(text.find("\nrpo = \"off\"\n") != std::string::npos);
  CHECK(text.find("\ncheck_period = \"2 s\"\n") != std::string::npos);
  CHECK(text.find("\nstatus = \"off\"\n") != std::string::npos);
}

TEST_CASE("JSON has the file's shape and words") {
  const auto json = to_json(good(kText));
  CHECK(json["source"] == "t.toml");
  CHECK(json["node"]["listen"] == "0.0.0.0:2000");
  CHECK(json["peer"][0]["address"][0] == "[::1]:2001");
  CHECK(json["group"][0]["keep_journal"] == "36 h");
  CHECK(json["group"][0]["segment_size"] == "3 MiB");
  CHECK(json["group"][0]["at_limit"] == "alarm");
  CHECK(json["group"][0]["env"][0]["path"] == "/var/lib/powerdns/pdns.lmdb*");
  CHECK_FALSE(json["group"][0]["env"][1].contains("path"));
  CHECK(json["group"][1]["env"].empty());
  CHECK(json["warnings"].size() == good(kText).warnings.size());
}

}  // namespace hotbackup::config
