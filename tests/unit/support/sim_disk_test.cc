// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_disk.h"

#include <doctest/doctest.h>

#include <set>

using namespace hotbackup;
using hotbackup::test::ProcessEnds;
using hotbackup::test::SimDisk;

namespace {

std::string content(os::Directory& directory, const std::string& name) {
  auto file = directory.open(name);
  if (!file) return "not there";
  std::string bytes(20'000, '\0');
  bytes.resize((*file)->read_at(0, bytes.data(), bytes.size()).value());
  return bytes;
}

}  // namespace

TEST_CASE("the simulated disk keeps what was synced and any part of the rest over a power loss") {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimDisk disk(seed);
    auto directory = disk.directory("d");
    auto file = directory->create("a").value();
    REQUIRE(file->write_at(0, std::string(1024, 'x')));
    REQUIRE(file->sync_data());
    REQUIRE(directory->sync());
    CHECK(disk.durable("d", "a", 0, 1024));
    REQUIRE(file->write_at(512, std::string(512, 'y')));
    REQUIRE(file->write_at(0, std::string(512, 'z')));
    CHECK_FALSE(disk.durable("d", "a", 0, 1024));
    disk.lose_power();
    const std::string after = content(*disk.directory("d"), "a");
    REQUIRE(after.size() == 1024);
    for (std::size_t at : {0, 512}) CHECK(after.substr(at, 512) == std::string(512, after[at]));
    seen.insert({after[0], after[512]});
  }
  CHECK(seen == std::set<std::string>{"xx", "xy", "zx", "zy"});
}

TEST_CASE("a name on the simulated disk survives a power loss for sure only after its sync") {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimDisk disk(seed);
    auto directory = disk.directory("d");
    REQUIRE(directory->create("old").value()->sync_data());
    REQUIRE(directory->sync());
    REQUIRE(directory->rename("old", "new"));
    REQUIRE(directory->create("other"));
    disk.lose_power();
    std::string names;
    for (const std::string& name : disk.names("d")) names += name + " ";
    seen.insert(names);
  }
  CHECK(seen == std::set<std::string>{"old ", "new ", "new other ", "old other "});
}

TEST_CASE("after a failed sync of the simulated disk a later one succeeds and brings nothing") {
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimDisk disk(seed);
    auto directory = disk.directory("d");
    auto file = directory->create("a").value();
    REQUIRE(directory->sync());
    REQUIRE(file->write_at(0, std::string(512, 'y')));
    disk.faults().sync_error = 1;
    CHECK(file->sync_data().error().os_error() == EIO);
    disk.faults().sync_error = 0;
    REQUIRE(file->sync_data());
    disk.lose_power();
    if (content(*disk.directory("d"), "a") != std::string(512, 'y')) ++lost;
  }
  CHECK(lost > 5);
  CHECK(lost < 45);
}

TEST_CASE("a full simulated disk says so, and has room again after a removal") {
  SimDisk disk(1, 10'000);
  auto directory = disk.directory("d");
  auto file = directory->create("a").value();
  REQUIRE(file->allocate(8000, false));
  CHECK(file->write_at(7000, std::string(5000, 'x')).error().code() == ErrorCode::kNoSpace);
  REQUIRE(directory->remove("a"));
  auto other = directory->create("b").value();
  CHECK(other->write_at(0, std::string(9000, 'x')));
}

TEST_CASE("a process that ends in a call of the simulated disk has no effect after it") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimDisk disk(seed);
    auto directory = disk.directory("d");
    auto file = directory->create("a").value();
    disk.end_process_in(2);
    REQUIRE(file->write_at(0, "first"));
    CHECK_THROWS_AS((void)file->write_at(5, "second"), ProcessEnds);
    CHECK_FALSE(file->write_at(0, "FIRST"));
    CHECK_FALSE(directory->remove("a"));
    disk.revive();
    const std::string after = content(*directory, "a");
    CHECK(after == std::string("firstsecond").substr(0, after.size()));
    CHECK(after.size() >= 5);
  }
}
