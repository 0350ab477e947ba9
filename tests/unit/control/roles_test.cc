// SPDX-License-Identifier: Apache-2.0
// Epochs, fencing and roles: what a node believes, and what of it outlives a reboot.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/control/group.h"
#include "common/os/process.h"
#include "common/update/codec.h"
#include "tests/support/journal_fixture.h"

using namespace hotbackup;
using namespace hotbackup::control;
using Heard = Group::Heard;

namespace {

constexpr NodeId kParis(1), kLyon(2), kRome(3);

struct Node {
  test::TemporaryDirectory directory;
  std::unique_ptr<Group> group;

  explicit Node(Role role, std::uint64_t boot_wait_ms = 0) {
    GroupRecord record;
    record.id = test::test_group();
    record.name = "dns";
    record.node_name = "paris";
    record.node = kParis;
    record.role = role;
    record.master_name = role == Role::kMaster ? "paris" : "";
    record.segment_bytes = 1 << 20;
    record.peers = {"lyon"};
    record.boot_wait_ms = boot_wait_ms;
    REQUIRE(::mkdir((directory.path() + "/journal").c_str(), 0755) == 0);
    REQUIRE(write_group_file(directory.path(), record));
    reopen();
    if (role == Role::kMaster) append_epoch({1, kParis});
  }

  void append_epoch(const Epoch& epoch) {
    auto lock = group->journal().lock();
    journal::FrameHeader fields;
    fields.epoch = epoch;
    REQUIRE(group->journal().append_control(*lock, journal::FrameKind::kEpoch,
                                            update::write_epoch({epoch, "paris"}), fields));
    lock->release();
    REQUIRE(group->journal().sync_through(group->made()));
    group->set_epoch(epoch);
  }

  void reopen() {
    auto opened = Group::open(directory.path());
    REQUIRE(opened);
    group = std::move(*opened);
  }
  /// As after a reboot: the control file is made from what is durable.
  void reboot() {
    group.reset();
    REQUIRE(::unlink((directory.path() + "/control").c_str()) == 0);
    reopen();
  }
};

}  // namespace

TEST_CASE("a master that hears of a higher epoch is fenced, and stays so after a reboot") {
  Node node(Role::kMaster);
  CHECK(node.group->hear_epoch({1, kParis}, "paris") == Heard::kSame);
  CHECK(node.group->hear_epoch({2, kLyon}, "lyon") == Heard::kNewer);
  for (int round = 0; round < 2; ++round) {
    CHECK(node.group->role() == Role::kFenced);
    CHECK(node.group->known_epoch() == Epoch{2, kLyon});
    CHECK(std::string(node.group->layout().master_name) == "lyon");
    CHECK(node.group->wrote());
    if (round == 0) {
      CHECK(node.group->incidents().find("HB-fenced"));
      node.reboot();
    }
  }
  CHECK(node.group->hear_epoch({1, kParis}, "paris") == Heard::kOlder);
}

TEST_CASE("the same epoch of two nodes closes a master's gate and names no winner") {
  Node node(Role::kMaster);
  CHECK(node.group->hear_epoch({1, kRome}, "rome") == Heard::kConflict);
  CHECK(node.group->role() == Role::kFenced);
  CHECK(node.group->known_epoch() == Epoch{1, kParis});
  CHECK(node.group->incidents().find("HB-two-masters"));
}

TEST_CASE("a slave takes note of a newer master, refuses older ones, and stays a slave") {
  Node node(Role::kSlave);
  CHECK(node.group->hear_epoch({3, kLyon}, "lyon") == Heard::kNewer);
  CHECK(node.group->hear_epoch({2, kRome}, "rome") == Heard::kOlder);
  CHECK(node.group->hear_epoch({3, kRome}, "rome") == Heard::kConflict);
  node.reboot();
  CHECK(node.group->role() == Role::kSlave);
  CHECK(node.group->known_epoch() == Epoch{3, kLyon});
}

TEST_CASE("a promotion takes the next epoch, and one that is given up leaves no trace") {
  Node node(Role::kSlave);
  REQUIRE(node.group->hear_epoch({3, kLyon}, "lyon"));
  const auto epoch = node.group->begin_epoch();
  REQUIRE(epoch);
  CHECK(*epoch == Epoch{4, kParis});
  CHECK(node.group->hear_epoch({3, kLyon}, "lyon") == Heard::kOlder);
  REQUIRE(node.group->forget_epoch({3, kLyon}, "lyon"));
  node.reboot();
  CHECK(node.group->hear_epoch({3, kLyon}, "lyon") == Heard::kSame);
  CHECK(std::string(node.group->layout().master_name) == "lyon");
}

TEST_CASE("who has heard of a newer epoch meanwhile does not become master") {
  Node node(Role::kSlave);
  const auto epoch = node.group->begin_epoch();
  REQUIRE(epoch);
  REQUIRE(node.group->hear_epoch({epoch->counter + 1, kLyon}, "lyon"));
  CHECK_FALSE(node.group->become_master(*epoch));
  CHECK(node.group->role() == Role::kSlave);
}

TEST_CASE("a role is given up only at the last update, and taken back by an undo") {
  Node node(Role::kMaster);
  const UpdateNumber made = node.group->made();
  CHECK_FALSE(node.group->resign({2, kLyon}, "lyon", UpdateNumber(made.value - 1)));
  CHECK(node.group->role() == Role::kMaster);
  REQUIRE(node.group->resign({2, kLyon}, "lyon", made));
  node.reboot();
  CHECK(node.group->role() == Role::kSlave);
  CHECK(node.group->wrote());
  REQUIRE(node.group->take_back({1, kParis}));
  node.reboot();
  CHECK(node.group->role() == Role::kMaster);
  CHECK(node.group->known_epoch() == Epoch{1, kParis});
}

TEST_CASE(
    "after a reboot a master's gate is closed for boot_wait, or until its epoch is confirmed") {
  Node node(Role::kMaster, 3'600'000);
  CHECK(node.group->layout().roles.gate_until_ns.load() == 0);  // the group was being made
  node.reboot();
  CHECK(node.group->layout().roles.gate_until_ns.load() > os::boottime_ns());
  node.group->confirm_epoch();
  CHECK(node.group->layout().roles.gate_until_ns.load() == 0);
  REQUIRE(node.group->resign({2, kLyon}, "lyon", node.group->made()));
  node.reboot();
  CHECK(node.group->layout().roles.gate_until_ns.load() == 0);  // a slave waits for nothing
}

TEST_CASE("the lease counts from the peer that was heard least recently") {
  Node node(Role::kMaster);
  REQUIRE(node.group->set_loss_limit({}, {"lyon", "rome"}));
  REQUIRE(node.group->set_waits(std::chrono::milliseconds(0), std::chrono::milliseconds(5)));
  PeerEntry& lyon = *node.group->peer("lyon");
  PeerEntry& rome = *node.group->peer("rome");
  const auto& until = node.group->layout().roles.lease_until_ns;
  CHECK(until.load() > os::boottime_ns());  // nobody follows yet who could be promoted
  node.group->renew_lease(lyon, 1000);
  CHECK(until.load() == 1000 + 5'000'000);
  node.group->renew_lease(rome, 700);
  CHECK(until.load() == 700 + 5'000'000);
  node.group->renew_lease(rome, 2000);
  CHECK(until.load() == 1000 + 5'000'000);
  node.group->renew_lease(lyon, 3000);
  node.group->renew_lease(rome, 1500);  // late: nothing is taken back
  CHECK(until.load() == 2000 + 5'000'000);
}

TEST_CASE("after a reboot the lease begins when every peer has confirmed") {
  Node node(Role::kMaster);
  REQUIRE(node.group->set_loss_limit({}, {"lyon", "rome"}));
  REQUIRE(node.group->set_waits(std::chrono::milliseconds(0), std::chrono::milliseconds(5)));
  node.reboot();
  const auto& until = node.group->layout().roles.lease_until_ns;
  CHECK(until.load() == 0);
  node.group->renew_lease(*node.group->peer("lyon"), 1000);
  CHECK(until.load() == 0);  // rome may have been promoted
  node.group->renew_lease(*node.group->peer("rome"), 900);
  CHECK(until.load() == 900 + 5'000'000);
}
