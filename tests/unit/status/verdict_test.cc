// SPDX-License-Identifier: Apache-2.0
#include "common/status/verdict.h"

#include <doctest/doctest.h>

namespace hotbackup::status {
namespace {

using control::LinkState;
using control::Role;
using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'800'000'000)};  // 2027-01-15T08:00:00Z

GroupStatus group(Role role) {
  GroupStatus status;
  status.name = "dns";
  status.node = role == Role::kMaster ? "paris" : "lyon";
  status.initialised = true;
  status.role = role;
  status.epoch = 3;
  status.master_name = "paris";
  status.now = kNow;
  status.server.program = role == Role::kMaster ? "hotbackup-master" : "hotbackup-slave";
  status.server.alive = true;
  status.server.started = kNow - seconds(3600);
  status.made = status.published = status.sent = status.journaled = status.applied = 48100;
  PeerStatus peer;
  peer.name = role == Role::kMaster ? "lyon" : "paris";
  peer.link = LinkState::kStreaming;
  peer.seeded = true;
  peer.sent = peer.journaled = peer.applied = peer.published = 48100;
  peer.heard = kNow - std::chrono::milliseconds(400);
  status.peers.push_back(peer);
  return status;
}

/// A master with a queue of `count` updates, the oldest `age` old.
GroupStatus behind(std::uint64_t count, seconds age) {
  GroupStatus status = group(Role::kMaster);
  status.journaled = status.applied = status.published - count;
  status.peers[0].journaled = status.journaled;
  status.exposure = {count, count * 200, kNow - age};
  status.queue = status.exposure;
  return status;
}

std::string line(const GroupStatus& status) {
  return verdict_line(status, judge(status));
}

}  // namespace

TEST_CASE("a master whose slave has everything is protected") {
  const GroupStatus status = group(Role::kMaster);
  CHECK(judge(status).good);
  CHECK(line(status) ==
        "dns  MASTER paris  epoch 3  PROTECTED by lyon: losing this machine now loses 0 updates "
        "(equal at 48,100 07:59:59Z)");
  CHECK(group_state(status) == "idle");
}

TEST_CASE("a master that streams stays protected while the slave is moments behind") {
  const GroupStatus status = behind(3, seconds(1));
  CHECK(judge(status).good);
  CHECK(judge(status).text.find("loses 3 updates (lyon has it at 48,097") != std::string::npos);
  CHECK(group_state(status) == "waiting for ack");
}

TEST_CASE("a master is exposed when the slave is further behind than the loss limit") {
  CHECK_FALSE(judge(behind(100, seconds(11))).good);
  CHECK(
      judge(behind(100, seconds(11))).text ==
      "EXPOSED: losing this machine now loses 100 updates (lyon is 11 s behind, and catching up)");
}

TEST_CASE("a silent slave exposes even when nothing is queued yet") {
  GroupStatus status = group(Role::kMaster);
  status.peers[0].heard = kNow - seconds(41);
  CHECK_FALSE(judge(status).good);
  CHECK(
      judge(status).text ==
      "EXPOSED: losing this machine now loses 0 updates, and every one from now on (lyon silent 41 "
      "s). Next: see that hotbackup-slave runs on lyon, and hotbackup status there");
}

TEST_CASE("three check periods of silence are not silence yet") {
  GroupStatus status = group(Role::kMaster);
  status.check_period = std::chrono::milliseconds(2000);
  status.peers[0].heard = kNow - seconds(6);
  CHECK(judge(status).good);
  status.peers[0].heard = kNow - seconds(7);
  CHECK_FALSE(judge(status).good);
}

TEST_CASE("a slave without a copy protects nothing") {
  GroupStatus status = behind(48100, seconds(1));
  status.peers[0].seeded = false;
  status.peers[0].link = LinkState::kWaitingForCapture;
  status.peers[0].text = "waiting for capture: pid 812 (pdns_server)";
  CHECK(judge(status).text ==
        "EXPOSED: losing this machine now loses everything (lyon has no copy yet; waiting for "
        "capture: pid 812 (pdns_server)). Next: restart these programs under capture");
  CHECK(group_state(status) == "waiting for capture");
}

TEST_CASE("what a peer refuses is told in its words") {
  GroupStatus status = behind(5, seconds(1));
  status.peers[0].link = LinkState::kRefused;
  status.peers[0].text = "lyon refuses: it holds another group";
  CHECK(judge(status).text.find("(lyon refuses: it holds another group). Next: hotbackup status on "
                                "lyon") != std::string::npos);
}

TEST_CASE("a server that ended is named with how it ended") {
  GroupStatus status = behind(5, seconds(1));
  status.server.alive = false;
  status.server.last_alive = kNow - seconds(2);
  CHECK(server_text(status.server) == "was killed; last alive at 2027-01-15T07:59:58.000Z");
  CHECK(judge(status).text.find("Next: start hotbackup-master") != std::string::npos);
  CHECK(group_state(status) == "stopped");
  status.server.stopped = kNow - seconds(1);
  CHECK(server_text(status.server) == "stopped cleanly at 2027-01-15T07:59:59.000Z");
  status.server.started.reset();
  CHECK(server_text(status.server) == "has not run since boot");
}

TEST_CASE("the peer that has most decides for a master") {
  GroupStatus status = group(Role::kMaster);
  PeerStatus far = status.peers[0];
  far.name = "nice";
  far.journaled = 10;
  far.link = LinkState::kCalling;
  status.peers.insert(status.peers.begin(), far);
  CHECK(judge(status).text.starts_with("PROTECTED by lyon"));
}

TEST_CASE("a master without peers protects nothing") {
  GroupStatus status = group(Role::kMaster);
  status.peers.clear();
  CHECK_FALSE(judge(status).good);
  CHECK(judge(status).text.find("no peer is configured") != std::string::npos);
}

TEST_CASE("a slave that has all its master had is ready") {
  const GroupStatus status = group(Role::kSlave);
  CHECK(line(status) ==
        "dns  SLAVE lyon  epoch 3  READY: promoting now loses 0 (paris heard 0.4 s ago)");
}

TEST_CASE("a slave whose master is silent may lose what it knows to be missing, or more") {
  GroupStatus status = group(Role::kSlave);
  status.published = status.made = 48103;
  status.peers[0].heard = kNow - seconds(41);
  status.peers[0].link = LinkState::kWaitingForCall;
  CHECK_FALSE(judge(status).good);
  CHECK(line(status).starts_with(
      "dns  SLAVE lyon  epoch 3  MAY LOSE 3 or more: paris silent 41 s. Next: "));
}

TEST_CASE("a slave whose master is silent is told how to promote it") {
  GroupStatus status = group(Role::kSlave);
  status.peers[0].heard = kNow - seconds(41);
  status.peers[0].link = LinkState::kWaitingForCall;
  CHECK(line(status).ends_with("Next: hotbackup promote dns --dry-run"));
}

TEST_CASE("a master says whether roles could be changed back") {
  GroupStatus status = group(Role::kMaster);
  status.peers[0].way_home = control::WayHome::kReaches;
  CHECK(line(status).ends_with("; way home: lyon reaches paris"));
  status.peers[0].way_home = control::WayHome::kDoesNot;
  CHECK(line(status).ends_with("; no way home: lyon does not reach hotbackup-slave on paris"));
}

TEST_CASE("a fenced node names the master and its epoch") {
  GroupStatus status = group(Role::kSlave);
  status.role = Role::kFenced;
  status.known_epoch = 4;
  CHECK_FALSE(judge(status).good);
  CHECK(line(status) ==
        "dns  FENCED lyon  epoch 3  FENCED: paris is master in epoch 4, writes here are refused");
}

TEST_CASE("a promotion that was cut short says how to end it") {
  GroupStatus status = group(Role::kSlave);
  status.promotion_cut_short = true;
  CHECK_FALSE(judge(status).good);
  CHECK(line(status).ends_with("Next: hotbackup promote dns"));
}

TEST_CASE("a slave before its first seed has no copy") {
  GroupStatus status = group(Role::kSlave);
  status.published = status.made = status.sent = status.journaled = status.applied = 0;
  CHECK(judge(status).text.starts_with("NO COPY YET: "));
}

TEST_CASE("an incident is in the verdict and spoils it") {
  GroupStatus status = group(Role::kSlave);
  status.incidents.push_back({"HB-copy-written", "", "error", "the copy was written", "", kNow});
  CHECK_FALSE(judge(status).good);
  CHECK(judge(status).text.ends_with("; HB-copy-written: the copy was written"));
}

TEST_CASE("a slave whose copy is known to differ, or that applies no more, is not ready") {
  GroupStatus status = group(Role::kSlave);
  status.incidents.push_back({"HB-copy-differs", "", "error", "update 7 was skipped", "", kNow});
  CHECK_FALSE(judge(status).good);
  CHECK(judge(status).text ==
        "DIFFERS: promoting now serves a copy that is not the master's, and loses 0 (paris heard "
        "0.4 s ago); HB-copy-differs: update 7 was skipped");
  status.incidents.clear();
  status.applying = control::ApplyState::kStopped;
  status.stopped_at = 48000;
  status.applied = 47999;
  CHECK_FALSE(judge(status).good);
  CHECK(judge(status).text ==
        "STOPPED: promoting now serves the copy as of update 47,999 (paris heard 0.4 s ago, "
        "applying stopped at update 48,000)");
  status.applying = control::ApplyState::kPaused;
  CHECK(judge(status).good);
  CHECK(judge(status).text ==
        "READY: promoting now loses 0 (paris heard 0.4 s ago, applying paused)");
}

TEST_CASE("a master whose copy is known to differ is not protected, and says what to do") {
  for (const char* code : {"HB-copy-differs", "HB-unlogged", "HB-nolock-writer", "HB-replaced"}) {
    GroupStatus status = group(Role::kMaster);
    status.incidents.push_back({"HB-clock-differs", "", "warning", "1.4 s", "", kNow});
    status.incidents.push_back({code, "zones", "error", "3 differences", "repair it", kNow});
    CHECK_FALSE(judge(status).good);
    CHECK(line(status) ==
          "dns  MASTER paris  epoch 3  NOT PROTECTED: lyon's copy is known to differ (" +
              std::string(code) + ": 3 differences). Next: repair it");
  }
}

TEST_CASE(
    "a copy that differs on another slave leaves a master protected by the one that has all") {
  GroupStatus status = group(Role::kMaster);
  PeerStatus other = status.peers[0];
  other.name = "nice";
  other.journaled = 12;
  status.peers.push_back(other);
  status.incidents.push_back({"HB-copy-differs", "nice", "error", "it differs", "", kNow});
  CHECK(judge(status).text.starts_with("PROTECTED by lyon"));
  CHECK_FALSE(judge(status).good);
  status.incidents[0].subject = "lyon";
  CHECK(judge(status).text.starts_with("NOT PROTECTED: lyon's copy"));
}

TEST_CASE("groups that are not made or were unlinked say what to type") {
  GroupStatus status;
  status.name = "dns";
  status.node = "paris";
  CHECK(line(status) ==
        "dns  paris  NOT INITIALISED. Next: hotbackup init dns --role master (or slave)");
  status.initialised = true;
  CHECK(line(status).starts_with("dns  paris  OFF: unlinked"));
}

}  // namespace hotbackup::status
