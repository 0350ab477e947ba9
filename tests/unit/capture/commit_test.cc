// SPDX-License-Identifier: Apache-2.0
// The commit protocol: numbers, baselines, voids, open slots, what is durable when.
#include <doctest/doctest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <csignal>

#include "master/capture/hotbackup.h"
#include "tests/unit/capture/transaction.h"

using namespace hotbackup;
using namespace hotbackup::test;

namespace {

int put_one(const Env& env, const std::string& key, const std::string& value = "1") {
  Txn txn(env);
  const MDB_dbi users = txn.open("users");
  REQUIRE(txn.put(users, key, value) == 0);
  return txn.commit();
}

const control::EnvironmentEntry& entry(GroupFixture& fixture) {
  return fixture.group().layout().environments[0];
}

}  // namespace

TEST_CASE("the first update is preceded by the environment's description and its baseline") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  { Txn txn(env, MDB_RDONLY); }
  CHECK(fixture.group().made().value == 1);
  REQUIRE(put_one(env, "a") == 0);
  REQUIRE(put_one(env, "b") == 0);
  const auto updates = fixture.updates();
  REQUIRE(updates.size() == 5);
  using journal::FrameKind;
  const FrameKind kinds[] = {FrameKind::kEpoch, FrameKind::kEnvironment, FrameKind::kBaseline,
                             FrameKind::kUpdate, FrameKind::kUpdate};
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(updates[i].kind == kinds[i]);
    CHECK(updates[i].number.value == i + 1);
  }
  CHECK(updates[3].txnid.value == updates[2].txnid.value + 1);
  CHECK(updates[4].txnid.value == updates[3].txnid.value + 1);
  CHECK(hotbackup_last_update(env.get()) == 5);
  CHECK(fixture.group().published().value == 5);
}

TEST_CASE(
    "a commit is durable in the journal when it returns, unless the program asked otherwise") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  {
    Env env(path);
    REQUIRE(put_one(env, "a") == 0);
    CHECK(fixture.group().synced() == fixture.group().made());
  }
  Env env(path, MDB_NOSYNC);
  REQUIRE(put_one(env, "b") == 0);
  CHECK(fixture.group().synced() < fixture.group().made());
  CHECK(fixture.group().published() == fixture.group().synced());
  CHECK(fixture.group().decided() == fixture.group().made());
  REQUIRE(mdb_env_sync(env.get(), 0) == 0);
  CHECK(fixture.group().published() == fixture.group().made());
  REQUIRE(mdb_env_set_flags(env.get(), MDB_NOSYNC, 0) == 0);
  REQUIRE(put_one(env, "c") == 0);
  CHECK(fixture.group().synced() == fixture.group().made());
}

TEST_CASE("a commit that LMDB refuses is void, and the next one has its txnid") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_one(env, "a") == 0);
  REQUIRE(mdb_env_set_mapsize(env.get(), 1 << 20) == 0);
  {
    Txn txn(env);
    const MDB_dbi users = txn.open("users");
    int rc = 0;
    for (int i = 0; rc == 0; ++i) rc = txn.put(users, std::to_string(i), std::string(50'000, 'x'));
    CHECK(rc == MDB_MAP_FULL);
    CHECK(txn.commit() == MDB_BAD_TXN);
  }
  auto updates = fixture.updates();
  CHECK(updates.back().is_void);
  const TxnId refused = updates.back().txnid;
  CHECK(fixture.group().published() == fixture.group().made());
  REQUIRE(put_one(env, "b") == 0);
  CHECK(fixture.updates().back().txnid == refused);
  CHECK(entry(fixture).state.load() == 0);
  CHECK(hotbackup_last_update(env.get()) == fixture.group().made().value);
}

TEST_CASE("a write that bypassed capture is noticed and gets a new baseline") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  {
    Env env(path);
    REQUIRE(put_one(env, "a") == 0);
  }
  REQUIRE(run_program({helper("capture_plain_program"), "put", path, "bypass", "1"}) == 0);
  Env env(path);
  REQUIRE(put_one(env, "b") == 0);
  CHECK(entry(fixture).state.load() ==
        static_cast<std::uint32_t>(control::EnvironmentState::kUnlogged));
  const auto updates = fixture.updates();
  CHECK(updates[updates.size() - 2].kind == journal::FrameKind::kBaseline);
  CHECK(updates.back().txnid.value == updates[updates.size() - 2].txnid.value + 1);
}

TEST_CASE("an update whose writer was killed before LMDB's commit is void to the next writer") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  {
    Env env(path);
    REQUIRE(put_one(env, "a") == 0);
  }
  CHECK(run_program({helper("capture_victim"), "before", path, fixture.group_path()}) == -SIGKILL);
  const UpdateNumber open(entry(fixture).slot.number.load());
  REQUIRE(open.value != 0);
  CHECK(fixture.group().decided() == open.previous());
  Env env(path);
  {
    Txn txn(env);  // resolved at begin
  }
  CHECK(fixture.group().decided() == open);
  CHECK(fixture.updates().back().is_void);
  REQUIRE(put_one(env, "b") == 0);
  CHECK(entry(fixture).state.load() == 0);
  Copy copy(fixture, EnvironmentNumber(1), fixture.path() + "/copy");
  copy.replay();
  CHECK(explain(content_of(env.get()), copy.content()) == "");
}

TEST_CASE("an update whose writer was killed after LMDB's commit is published by the next writer") {
  GroupFixture fixture;
  const std::string path = fixture.environment_directory("env");
  {
    Env env(path);
    REQUIRE(put_one(env, "a") == 0);
  }
  CHECK(run_program({helper("capture_victim"), "after", path, fixture.group_path()}) == -SIGKILL);
  CHECK(fixture.group().decided() < fixture.group().made());
  Env env(path);
  REQUIRE(put_one(env, "b") == 0);
  CHECK(fixture.group().decided() == fixture.group().made());
  for (const auto& update : fixture.updates()) CHECK_FALSE(update.is_void);
  CHECK(entry(fixture).state.load() == 0);
  Copy copy(fixture, EnvironmentNumber(1), fixture.path() + "/copy");
  copy.replay();
  CHECK(explain(content_of(env.get()), copy.content()) == "");
}

TEST_CASE("a slot that is cleared late does not clear the next writer's") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_one(env, "a") == 0);
  auto& mutable_entry = fixture.group().layout().environments[0];
  mutable_entry.slot.number.store(9);
  fixture.group().clear_slot(mutable_entry, UpdateNumber(8));
  CHECK(mutable_entry.slot.number.load() == 9);
  fixture.group().clear_slot(mutable_entry, UpdateNumber(9));
  CHECK(mutable_entry.slot.number.load() == 0);
}

TEST_CASE("a journal that stopped after a failed sync goes on in a new segment when it can") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_one(env, "a") == 0);
  fixture.group().layout().tail.failed.store(EIO);
  const std::uint64_t before = fixture.group().layout().tail.generation.load();
  CHECK(put_one(env, "b") == 0);
  CHECK(fixture.group().layout().tail.failed.load() == 0);
  CHECK(fixture.group().layout().tail.generation.load() > before);
  Copy copy(fixture, EnvironmentNumber(1), fixture.path() + "/copy");
  copy.replay();
  CHECK(explain(content_of(env.get()), copy.content()).empty());
}

TEST_CASE("a full journal disk refuses commits and loses nothing") {
  TemporaryDirectory small;
  if (::geteuid() != 0 || ::mount("none", small.path().c_str(), "tmpfs", 0, "size=3m") != 0) {
    MESSAGE("cannot mount a small file system here");
    return;
  }
  {
    GroupFixture fixture(control::Role::kMaster, 1 << 20, small.path() + "/journal");
    Env env(fixture.environment_directory("env"));
    int committed = 0, rc = 0;
    for (; rc == 0 && committed < 100; ++committed)
      rc = put_one(env, std::to_string(committed), std::string(100'000, 'x'));
    CHECK(rc == ENOSPC);
    const Content content = content_of(env.get());
    CHECK(content.at("users").items.size() == static_cast<std::size_t>(committed - 1));
    CHECK(fixture.group().decided() == fixture.group().made());
    Copy copy(fixture, EnvironmentNumber(1), fixture.path() + "/copy");
    copy.replay();
    CHECK(explain(content, copy.content()) == "");

    Txn spilled(env);  // larger than memory may hold: noticed before the commit, or there
    const MDB_dbi users = spilled.open("users");
    for (rc = 0, committed = 0; rc == 0 && committed < 100; ++committed)
      rc = spilled.put(users, std::to_string(committed), std::string(100'000, 'y'));
    CHECK(rc == ENOSPC);
    CHECK(spilled.put(users, "more", "1") == ENOSPC);
    CHECK(spilled.commit() == ENOSPC);
    CHECK(explain(content, content_of(env.get())) == "");
  }
  // The group stays open in this process, as in any captured one.
  CHECK(::umount2(small.path().c_str(), MNT_DETACH) == 0);
}

TEST_CASE("wait and role answer for a master and a slave") {
  GroupFixture fixture;
  Env env(fixture.environment_directory("env"));
  REQUIRE(put_one(env, "a") == 0);
  CHECK(hotbackup_role(env.get()) == HOTBACKUP_MASTER);
  const auto number = hotbackup_last_update(env.get());
  CHECK(hotbackup_wait(env.get(), number, HOTBACKUP_JOURNALED, 20) == ETIMEDOUT);
  control::PeerEntry* peer = fixture.group().peer("lyon");
  REQUIRE(peer != nullptr);
  peer->journaled.store(number);
  CHECK(hotbackup_wait(env.get(), number, HOTBACKUP_JOURNALED, -1) == 0);
  CHECK(hotbackup_wait(env.get(), number, HOTBACKUP_APPLIED, 0) == ETIMEDOUT);
  CHECK(hotbackup_wait(env.get(), number, 9, 0) == EINVAL);
}
