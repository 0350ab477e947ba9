// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "common/incident/catalogue.h"
#include "common/people/group_watch.h"

namespace hotbackup::people {
namespace {

using control::LinkState;
using control::Role;
using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'800'000'000)};
constexpr WallTime kLongAgo = kNow - std::chrono::hours(1);

status::GroupStatus healthy(Role role = Role::kMaster) {
  status::GroupStatus status;
  status.name = "dns";
  status.initialised = true;
  status.role = role;
  status.master_name = role == Role::kMaster ? "paris" : "lyon";
  status.now = kNow;
  status.server.program = "hotbackup-master";
  status.server.alive = true;
  status.server.last_alive = kNow;
  status::PeerStatus peer;
  peer.name = "lyon";
  peer.link = LinkState::kStreaming;
  peer.heard = kNow - seconds(1);
  status.peers.push_back(peer);
  return status;
}

std::vector<std::string> codes(const status::GroupStatus& status,
                               const config::Group& settings = {}, WallTime since = kLongAgo) {
  std::vector<std::string> found;
  for (const Finding& finding : judge_state(status, settings, since)) found.push_back(finding.code);
  return found;
}
using Codes = std::vector<std::string>;

}  // namespace

TEST_CASE("a healthy group has nothing to tell") {
  CHECK(codes(healthy()).empty());
  CHECK(codes(healthy(Role::kSlave)).empty());
}

TEST_CASE("a peer that is silent for three check periods is a link that is down") {
  auto status = healthy();
  status.peers[0].heard = kNow - seconds(6);
  CHECK(codes(status).empty());
  status.peers[0].heard = kNow - seconds(7);
  CHECK(codes(status) == Codes{"HB-link-down"});
  CHECK(judge_state(status, {}, kLongAgo)[0].subject == "lyon");
  status.role = Role::kFenced;
  status.master_name = "lyon";
  CHECK(codes(status) == Codes{"HB-link-down"});
  status.peers[0].link = LinkState::kSeeding;
  CHECK(codes(status).empty());
}

TEST_CASE("a peer that was never heard gets as long from the begin of the watch") {
  auto status = healthy();
  status.peers[0].heard.reset();
  CHECK(codes(status, {}, kNow - seconds(5)).empty());
  CHECK(codes(status) == Codes{"HB-link-down"});
}

TEST_CASE("a slave does not miss the slaves beside it") {
  auto status = healthy(Role::kSlave);
  status.peers[0].heard = kNow - seconds(100);
  status.peers[0].name = "oslo";
  CHECK(codes(status).empty());
}

TEST_CASE("a server that ended is told after the time of a restart, instead of its links") {
  auto status = healthy();
  status.server.alive = false;
  status.server.started = kLongAgo;
  status.server.last_alive = kNow - seconds(5);
  CHECK(codes(status).empty());
  status.server.last_alive = kNow - seconds(60);
  status.peers[0].heard = kNow - seconds(60);
  CHECK(codes(status) == Codes{"HB-server-down"});
}

TEST_CASE("exposure above the objective is told at that moment") {
  auto status = healthy();
  status.exposure.oldest = kNow - seconds(10);
  config::Group settings;
  CHECK(codes(status, settings).empty());
  settings.rpo = seconds(10);
  CHECK(codes(status, settings).empty());
  status.exposure.oldest = kNow - std::chrono::milliseconds(10'100);
  CHECK(codes(status, settings) == Codes{"HB-rpo-passed"});
  status.role = Role::kSlave;
  status.master_name = "lyon";
  CHECK(codes(status, settings).empty());
}

TEST_CASE("a disk is low at a twentieth, and before four segments do not fit") {
  auto status = healthy();
  status.journal.disk_bytes = 1'000'000'000'000;
  status.journal.free_bytes = 50'000'000'000;
  CHECK(codes(status).empty());
  status.journal.free_bytes = 49'000'000'000;
  CHECK(codes(status) == Codes{"HB-disk-low"});
  status.journal.disk_bytes = 200'000'000;
  status.journal.free_bytes = 100'000'000;
  CHECK(codes(status) == Codes{"HB-disk-low"});
}

TEST_CASE("a journal that cannot be synced is told") {
  auto status = healthy();
  status.os_error = EIO;
  CHECK(codes(status) == Codes{"HB-journal-failed"});
}

TEST_CASE("all that the watch raises is in the catalogue of incidents") {
  for (const std::string_view code : state_codes())
    CHECK_MESSAGE(incident::find(code) != nullptr, std::string(code));
}

}  // namespace hotbackup::people
