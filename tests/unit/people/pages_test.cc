// SPDX-License-Identifier: Apache-2.0
#include "common/people/pages.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace hotbackup::people {
namespace {

using control::LinkState;
using control::Role;
using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'800'000'000)};

status::GroupStatus group(Role role, const std::string& name = "dns") {
  status::GroupStatus status;
  status.name = name;
  status.node = role == Role::kSlave ? "lyon" : "paris";
  status.initialised = true;
  status.role = role;
  status.epoch = 3;
  status.master_name = role == Role::kMaster ? "paris" : "lyon";
  status.now = kNow;
  status.server.program = "hotbackup-master";
  status.server.alive = true;
  status.server.started = kNow - seconds(100);
  status.made = status.published = status.sent = status.journaled = status.applied = 1200;
  status::PeerStatus peer;
  peer.name = role == Role::kMaster ? "oslo" : "lyon";
  peer.link = LinkState::kStreaming;
  peer.seeded = true;
  peer.journaled = peer.applied = 1200;
  peer.heard = kNow - seconds(1);
  status.peers.push_back(peer);
  return status;
}

Known known(std::vector<status::GroupStatus> groups) {
  Known all;
  all.node = "paris";
  all.now = kNow;
  all.groups = std::move(groups);
  return all;
}

HttpResponse get(const std::string& path, const Known& all,
                 std::map<std::string, std::string> parameters = {}) {
  HttpRequest request;
  request.path = path;
  request.parameter = [parameters](const char* name) -> std::optional<std::string> {
    const auto at = parameters.find(name);
    return at == parameters.end() ? std::nullopt : std::optional<std::string>(at->second);
  };
  return respond(request, all);
}

unsigned health(const std::string& path, const status::GroupStatus& one,
                std::map<std::string, std::string> parameters = {}) {
  return get(path, known({one}), std::move(parameters)).status;
}

}  // namespace

TEST_CASE("a load balancer gets 200 for the role it asks for only") {
  CHECK(health("/health/master", group(Role::kMaster)) == 200);
  CHECK(health("/health/slave", group(Role::kMaster)) == 503);
  CHECK(health("/health/slave", group(Role::kSlave)) == 200);
  CHECK(health("/health/master", group(Role::kSlave)) == 503);
  CHECK(health("/health/master", group(Role::kFenced)) == 503);
  CHECK(health("/health/slave", group(Role::kFenced)) == 503);
  CHECK(health("/health", group(Role::kMaster)) == 200);
  CHECK(health("/health", group(Role::kFenced)) == 503);
  const HttpResponse why = get("/health/master", known({group(Role::kSlave)}));
  CHECK(why.body.find("not master: dns  SLAVE lyon") != std::string::npos);
}

TEST_CASE("a master whose server is down still takes writes, but all is not well") {
  auto down = group(Role::kMaster);
  down.server.alive = false;
  CHECK(health("/health/master", down) == 200);
  CHECK(health("/health", down) == 503);
  down.limit_refuses = true;
  CHECK(health("/health/master", down) == 503);
}

TEST_CASE("a slave is asked for its lag, and one that does not know it is not taken") {
  auto slave = group(Role::kSlave);
  slave.behind.oldest = kNow - seconds(8);
  CHECK(health("/health/slave", slave) == 200);
  CHECK(health("/health/slave", slave, {{"lag", "10s"}}) == 200);
  CHECK(health("/health/slave", slave, {{"lag", "5"}}) == 503);
  CHECK(health("/health/slave", slave, {{"lag", "500 ms"}}) == 503);
  CHECK(health("/health/slave", slave, {{"lag", "soon"}}) == 400);
  slave.behind.oldest.reset();
  slave.peers[0].heard = kNow - seconds(60);
  CHECK(health("/health/slave", slave) == 200);
  CHECK(health("/health/slave", slave, {{"lag", "10s"}}) == 503);
  slave.applied = 0;
  CHECK(health("/health/slave", slave) == 503);
}

TEST_CASE("a copy that differs is not to be read") {
  auto slave = group(Role::kSlave);
  slave.incidents.push_back({"HB-copy-written", "zones", "error", "written", "seed", kNow});
  CHECK(health("/health/slave", slave) == 503);
}

TEST_CASE("one group of several may be asked for") {
  const Known two = known({group(Role::kMaster, "dns"), group(Role::kSlave, "mail")});
  CHECK(get("/health/master", two).status == 503);
  CHECK(get("/health/master", two, {{"group", "dns"}}).status == 200);
  CHECK(get("/health/master", two, {{"group", "mail"}}).status == 503);
  CHECK(get("/health/master", two, {{"group", "none"}}).status == 404);
  CHECK(get("/nothing", two).status == 404);
}

TEST_CASE(
    "metrics are what Prometheus reads: help and type once, samples together, no value twice") {
  auto bad = group(Role::kMaster, "d\"n\\s\n");
  bad.incidents.push_back({"HB-unlogged", "a", "error", "one", "", kNow});
  bad.incidents.push_back({"HB-unlogged", "b", "error", "two", "", kNow});
  const HttpResponse answer = get("/metrics", known({group(Role::kSlave), bad}));
  CHECK(answer.type.starts_with("text/plain; version=0.0.4"));
  std::istringstream lines(answer.body);
  std::set<std::string> typed;
  std::set<std::string> series;
  std::string current;
  std::string line;
  while (std::getline(lines, line)) {
    CAPTURE(line);
    if (line.starts_with("# HELP ")) continue;
    if (line.starts_with("# TYPE ")) {
      current = line.substr(7, line.find(' ', 7) - 7);
      CHECK(typed.insert(current).second);
      CHECK(current.starts_with("hotbackup_"));
      CHECK(line.ends_with(" counter") == current.ends_with("_total"));
      continue;
    }
    CHECK(line.starts_with(current + "{"));
    const std::size_t end = line.rfind("} ");
    REQUIRE(end != std::string::npos);
    CHECK(series.insert(line.substr(0, end)).second);
    CHECK(line.find_first_not_of("0123456789.e+-", end + 2) == std::string::npos);
  }
  CHECK(series.contains("hotbackup_role{group=\"dns\",role=\"slave\""));
  CHECK(answer.body.find("hotbackup_updates_applied_total{group=\"dns\"} 1200\n") !=
        std::string::npos);
  CHECK(answer.body.find("group=\"d\\\"n\\\\s\\n\"") != std::string::npos);
}

TEST_CASE("the page shows verdict, numbers and incidents, and lets no text become markup") {
  Known all = known({group(Role::kMaster)});
  catalogue::IncidentRecord incident;
  incident.group = "dns";
  incident.code = "HB-link-down";
  incident.text = "<script>alert(1)</script>";
  incident.first = kNow;
  all.history.incidents.push_back(incident);
  all.history.points["dns"] = {{kNow - seconds(20), 0, 0, 100}, {kNow - seconds(10), 3, 1, 600}};
  const HttpResponse answer = get("/", all);
  CHECK(answer.type.starts_with("text/html"));
  const std::string& page = answer.body;
  CHECK(page.find("<p class=\"verdict good\">dns  MASTER paris") != std::string::npos);
  CHECK(page.find("made 1,200") != std::string::npos);
  CHECK(page.find("&lt;script&gt;alert(1)") != std::string::npos);
  CHECK(page.find("<script>alert") == std::string::npos);
  CHECK(page.find("highest 50 updates a second") != std::string::npos);
  CHECK(page.find("highest 3.0 s") != std::string::npos);
  CHECK(page.find("http://") == std::string::npos);
  CHECK(page.find("https://") == std::string::npos);
}

TEST_CASE("status.json is what the command prints") {
  const auto json =
      nlohmann::ordered_json::parse(get("/status.json", known({group(Role::kSlave)})).body);
  CHECK(json.at("node") == "paris");
  CHECK(json.at("groups").at(0).at("role") == "slave");
  CHECK(json.at("groups").at(0).contains("verdict"));
}

}  // namespace hotbackup::people
