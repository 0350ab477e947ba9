// SPDX-License-Identifier: Apache-2.0
// A seed from a master's environments to a slave's copies.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "master/seed_source.h"
#include "slave/seeder.h"
#include "tests/support/applier_fixture.h"

using namespace hotbackup;
using namespace hotbackup::test;
using update::OperationKind;

namespace {

std::string native(std::uint64_t number, std::size_t size) {
  return std::string(reinterpret_cast<const char*>(&number), size);
}

/// Every kind of database, values of every size, many duplicates.
void fill(lmdb::Environment& environment, unsigned seed) {
  std::mt19937_64 random(seed);
  lmdb::DatabaseHandles handles;
  auto txn = lmdb::Transaction::begin(environment, false);
  lmdb::OperationApplier applier(handles);
  const auto add = [&](const update::Operation& o) {
    const auto done = applier.apply(*txn, o);
    if (!done) FAIL(done.error().text());
  };
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t r = random();
    const std::string key = std::to_string(r % 5000);
    add(put(main_database(), "m" + key, std::string(r % 3000, 'm')));
    add(put(named("reverse", MDB_REVERSEKEY), key, key));
    add(put(named("integer", MDB_INTEGERKEY), native(r % 5000, 8), std::to_string(r)));
    add(put(named("integer4", MDB_INTEGERKEY), native(r % 5000, 4), std::to_string(r)));
    add(put(named("dup", MDB_DUPSORT), std::to_string(r % 7), std::to_string(r)));
    add(put(named("dupfixed", MDB_DUPSORT | MDB_DUPFIXED), std::to_string(r % 5), native(r, 8)));
    add(put(named("integerdup", MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP), std::to_string(r % 3),
            native(r, 8)));
    add(put(named("reversedup", MDB_DUPSORT | MDB_REVERSEDUP), key, std::to_string(r)));
  }
  for (const std::size_t bytes : {0, 1, 2030, 262'144, 262'145, 5'000'000, 30'000'000})
    add(put(named("large"), std::to_string(bytes), std::string(bytes, 'L')));
  add(put(main_database(), "like a record", std::string(48, '\0')));
  add(operation(OperationKind::kCreate, named("empty", MDB_DUPSORT | MDB_INTEGERKEY)));
  REQUIRE(txn->commit());
}

class Master {
 public:
  Master() : group(make_group(directory / "group", record())), writer(*group) {
    writer.epoch();
    group->set_epoch({1, NodeId(1)});
  }
  /// Makes an environment with content that has joined.
  void environment(const std::string& name, bool subdirectory, unsigned seed) {
    const std::string path = directory / name;
    if (subdirectory) REQUIRE(::mkdir(path.c_str(), 0755) == 0);
    {
      auto made = open_environment(path, 300 << 20, subdirectory);
      if (seed != 0) fill(made, seed);
    }
    const auto joined = group->join(path, subdirectory);
    REQUIRE(joined);
    REQUIRE(*joined != nullptr);
  }
  lmdb::ContentDigest digest(const std::string& name, bool subdirectory) {
    auto opened = open_environment(directory / name, 0, subdirectory);
    return *lmdb::digest(opened);
  }

  TemporaryDirectory directory;
  std::unique_ptr<control::Group> group;
  UpdateWriter writer;

 private:
  control::GroupRecord record() {
    auto made = group_record(control::Role::kMaster);
    made.patterns = {
        {"one", directory / "one"}, {"two", directory / "two"}, {"shards", directory / "shard*"}};
    return made;
  }
};

/// Carries a seed over; end() is the caller's.
Result<std::uint64_t> carry(master::SeedSource& source, slave::Seeder& seeder) {
  HOTBACKUP_TRY(seeder.begin(source.position(), source.environments()));
  for (;;) {
    master::SeedSource::Part part;
    HOTBACKUP_ASSIGN(const bool more, source.next(part));
    if (!more) break;
    CHECK(part.body.size() < update::kBodyBytesTarget + update::kValuePartBytes + 1000);
    HOTBACKUP_TRY(seeder.part(part.environment, part.body));
  }
  CHECK(seeder.items() == source.given());
  return source.given();
}

Result<> seed(Master& master, control::Group& group, slave::Copies& copies) {
  HOTBACKUP_ASSIGN(auto source, master::SeedSource::cut(*master.group));
  slave::Seeder seeder(group, copies);
  HOTBACKUP_ASSIGN(const auto items, carry(*source, seeder));
  return seeder.end(items);
}

}  // namespace

TEST_CASE("a seeded copy equals its master, and the stream goes on from there") {
  Master master;
  master.environment("one", true, 1);
  master.environment("two", false, 2);
  master.environment("shard-5", false, 3);
  master.environment("shard-6", false, 0);
  TemporaryDirectory directory;
  auto group = make_group(directory / "group", group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  const auto seeded = seed(master, *group, copies);
  if (!seeded) FAIL(seeded.error().text());

  // Each of the four environments got its baseline at the cut: two updates.
  CHECK(group->made().value == 9);
  CHECK(group->layout().tail.chain == master.group->layout().tail.chain);
  CHECK(group->epoch() == Epoch{1, NodeId(1)});
  CHECK(*slave::read_applied(*group) == slave::AppliedRange{UpdateNumber(9), UpdateNumber(9)});
  for (const char* name : {"two", "shard-5"}) {
    const bool shard = name[0] == 's';
    auto copy = open_environment(directory / "group/copies/" + (shard ? "shards-1" : name), 0);
    CHECK(*lmdb::digest(copy) == master.digest(name, false));
    CHECK(copy.info().map_bytes == 300 << 20);
  }
  {
    auto copy = open_environment(directory / "group/copies/one", 0, true);
    CHECK(*lmdb::digest(copy) == master.digest("one", true));
  }
  CHECK(::access((directory / "group/copies/shards-2").c_str(), F_OK) == 0);
  CHECK(::access((directory / "group/seeding").c_str(), F_OK) != 0);
  CHECK(::access((directory / "group/copies/.hotbackup-seed-2").c_str(), F_OK) != 0);

  slave::Applier applier(*group, copies, nullptr);
  REQUIRE(applier.start());
  UpdateWriter writer(*group);
  writer.append(2, {put(named("after"), "a", "1")});
  writer.sync();
  applier.wake();
  REQUIRE(comes_true([&] { return applier.applied().value == 10; }));
  applier.stop();
}

TEST_CASE("a target with items is refused by name and left alone, an empty one is filled") {
  Master master;
  master.environment("one", true, 0);
  master.environment("two", false, 4);
  TemporaryDirectory directory;
  auto record = group_record(control::Role::kSlave);
  record.patterns = {{"one", directory / "one"}, {"two", directory / "two"}};
  auto group = make_group(directory / "group", record);
  {
    auto occupied = open_environment(directory / "two");
    fill(occupied, 5);
  }
  slave::Copies copies(*group);
  auto refused = seed(master, *group, copies);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kRefused);
  CHECK(refused.error().text().find(directory / "two") != std::string::npos);
  CHECK(group->made().value == 0);
  {
    auto kept = open_environment(directory / "two", 0);
    CHECK(lmdb::digest(kept)->at(0).items > 0);
    lmdb::DatabaseHandles handles;
    auto txn = lmdb::Transaction::begin(kept, false);
    REQUIRE(handles.clear_all(*txn));
    REQUIRE(txn->commit());
  }
  struct stat before {};
  REQUIRE(::stat((directory / "two").c_str(), &before) == 0);
  REQUIRE(seed(master, *group, copies));
  struct stat after {};
  REQUIRE(::stat((directory / "two").c_str(), &after) == 0);
  CHECK(before.st_ino == after.st_ino);  // programs that have it open see the new content
  auto copy = open_environment(directory / "two", 0);
  CHECK(*lmdb::digest(copy) == master.digest("two", false));
}

TEST_CASE("a seed sends nothing kept, and over a copy it leaves what is kept there") {
  Master master;
  master.environment("two", false, 4);
  const auto rules = *update::KeepLocalRules::parse({"licence", "settings:host.*", ":own*"});
  const auto change = [](const std::string& path,
                         const std::vector<update::Operation>& operations) {
    auto environment = open_environment(path, 0);
    lmdb::DatabaseHandles handles;
    lmdb::OperationApplier applier(handles);
    auto txn = lmdb::Transaction::begin(environment, false);
    for (const auto& one : operations) REQUIRE(applier.apply(*txn, one));
    REQUIRE(txn->commit());
  };
  const std::string here = master.directory / "two";
  {
    auto emptied = open_environment(here, 0);
    lmdb::DatabaseHandles handles;
    auto txn = lmdb::Transaction::begin(emptied, false);
    REQUIRE(handles.clear_all(*txn));
    REQUIRE(txn->commit());
  }
  change(here, {put(named("licence"), "key", "paris"), put(named("settings"), "host.a", "paris"),
                put(named("settings"), "theme", "1"), put(main_database(), "own.a", "paris"),
                put(main_database(), "x", "1")});
  auto stored = *control::read_group_file(master.group->directory());
  stored.keep_local = {{"two", rules}};
  REQUIRE(master.group->add_configured(stored));

  TemporaryDirectory directory;
  auto record = group_record(control::Role::kSlave);
  record.patterns = {{"two", directory / "two"}};
  record.keep_local = {{"two", rules}};
  auto group = make_group(directory / "group", record);
  { auto made = open_environment(directory / "two"); }
  change(directory / "two",
         {put(named("licence"), "key", "lyon"), put(named("settings"), "host.a", "lyon"),
          put(main_database(), "own.b", "lyon")});
  slave::Copies copies(*group);
  REQUIRE(seed(master, *group, copies));
  {
    auto copy = open_environment(directory / "two", 0);
    CHECK(content(copy) ==
          "main: own.b=lyon x=1 | licence: key=lyon | settings: host.a=lyon theme=1");
  }
  // Into an empty place nothing kept comes either.
  TemporaryDirectory other;
  record.patterns = {{"two", other / "two"}};
  auto second = make_group(other / "group", record);
  slave::Copies more(*second);
  REQUIRE(seed(master, *second, more));
  auto copy = open_environment(other / "two", 0);
  CHECK(content(copy) == "main: x=1 | settings: theme=1");
}

TEST_CASE("a seed over a known copy replaces it, but not what somebody else wrote there") {
  Master master;
  master.environment("one", true, 1);
  master.environment("two", false, 2);
  TemporaryDirectory directory;
  auto group = make_group(directory / "group", group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  REQUIRE(seed(master, *group, copies));
  auto source = master::SeedSource::cut(*master.group);
  REQUIRE(source);
  const auto& environments = (**source).environments();
  {
    slave::Seeder seeder(*group, copies);
    const auto refused = seeder.begin((**source).position(), environments, false);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::kRefused);
  }
  {
    slave::Seeder seeder(*group, copies);
    CHECK(seeder.begin((**source).position(), environments, true));
  }
  group->incidents().raise("HB-copy-written", "two", "somebody wrote to two");
  slave::Seeder seeder(*group, copies);
  const auto refused = seeder.begin((**source).position(), environments, true);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().text().find("--replace") != std::string::npos);
}

TEST_CASE("a file that is no environment is refused") {
  Master master;
  master.environment("two", false, 0);
  TemporaryDirectory directory;
  auto record = group_record(control::Role::kSlave);
  record.patterns = {{"two", directory / "two"}};
  auto group = make_group(directory / "group", record);
  REQUIRE(os::replace_file(directory / "two", std::string(9000, 'x'), {}));
  slave::Copies copies(*group);
  CHECK(seed(master, *group, copies).error().code() == ErrorCode::kRefused);
}

TEST_CASE("an abandoned seed leaves nothing") {
  Master master;
  master.environment("two", false, 6);
  TemporaryDirectory directory;
  auto group = make_group(directory / "group", group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  {
    auto source = master::SeedSource::cut(*master.group);
    REQUIRE(source);
    slave::Seeder seeder(*group, copies);
    REQUIRE(carry(**source, seeder));
  }
  CHECK(::access((directory / "group/copies/two").c_str(), F_OK) != 0);
  CHECK(::access((directory / "group/copies/.hotbackup-seed-1").c_str(), F_OK) != 0);
  CHECK(group->made().value == 0);
  REQUIRE(seed(master, *group, copies));
}

TEST_CASE("a wrong number of items is a broken protocol") {
  Master master;
  master.environment("two", false, 7);
  TemporaryDirectory directory;
  auto group = make_group(directory / "group", group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  auto source = master::SeedSource::cut(*master.group);
  slave::Seeder seeder(*group, copies);
  const auto items = carry(**source, seeder);
  REQUIRE(items);
  CHECK(seeder.end(*items - 1).error().code() == ErrorCode::kProtocol);
  CHECK(::access((directory / "group/copies/two").c_str(), F_OK) != 0);
}

TEST_CASE("a seed that was killed while it took over is undone at the start and done again") {
  Master master;
  master.environment("one", true, 8);
  master.environment("two", false, 9);
  TemporaryDirectory directory;
  auto group = make_group(directory / "group", group_record(control::Role::kSlave));
  slave::Copies copies(*group);
  REQUIRE(seed(master, *group, copies));
  // As if the kill had come just before the marker was removed.
  REQUIRE(slave::write_seeding(*group,
                               {directory / "group/copies/one", directory / "group/copies/two"}));
  slave::Applier applier(*group, copies, nullptr);
  REQUIRE(applier.start());
  applier.stop();
  CHECK(group->made().value == 0);
  CHECK(applier.applied().value == 0);
  REQUIRE(::unlink((directory / "group/copies/two").c_str()) == 0);
  REQUIRE(seed(master, *group, copies));
  CHECK(group->made() == master.group->made());
  REQUIRE(applier.start());
  applier.stop();
  CHECK(group->made() == master.group->made());
  auto one = open_environment(directory / "group/copies/one", 0, true);
  CHECK(*lmdb::digest(one) == master.digest("one", true));
  auto two = open_environment(directory / "group/copies/two", 0);
  CHECK(*lmdb::digest(two) == master.digest("two", false));
}

TEST_CASE("the cut waits for open commit slots and names the one that stays") {
  Master master;
  master.environment("two", false, 0);
  auto* entry = master.group->environment(EnvironmentNumber(1));
  entry->slot.pid.store(4711);
  entry->slot.number.store(7);
  auto cut = master::SeedSource::cut(*master.group, std::chrono::milliseconds(30));
  REQUIRE_FALSE(cut);
  CHECK(cut.error().code() == ErrorCode::kBusy);
  CHECK(cut.error().text().find("two by process 4711") != std::string::npos);
  entry->slot.number.store(0);
  auto first = master::SeedSource::cut(*master.group);
  REQUIRE(first);
  CHECK(master::SeedSource::cut(*master.group).error().code() == ErrorCode::kBusy);
}
