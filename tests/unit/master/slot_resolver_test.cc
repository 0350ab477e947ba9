// SPDX-License-Identifier: Apache-2.0
#include "master/slot_resolver.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <thread>

#include "tests/unit/master/group_on_disk.h"

using namespace hotbackup;

TEST_CASE("a commit that stands still is an incident that names its process, until it has ended") {
  test::GroupOnDisk disk;
  control::Group& group = disk.group();
  auto joined = group.join(disk.data("pdns/zones"), /*subdirectory=*/false);
  REQUIRE(joined);
  control::EnvironmentEntry& entry = **joined;
  entry.slot.pid.store(static_cast<std::uint32_t>(::getpid()));
  entry.slot.txnid = 1;
  entry.slot.number.store(disk.append(100).value);
  master::SlotResolver resolver;
  resolver.look(group);
  CHECK(group.incidents().open().empty());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (group.incidents().open().empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    resolver.look(group);
  }
  const auto incident = group.incidents().find("HB-slot-stuck", entry.name);
  REQUIRE(incident);
  CHECK(incident->text.find("process " + std::to_string(::getpid())) != std::string::npos);
  entry.slot.number.store(0);
  resolver.look(group);
  CHECK(group.incidents().open().empty());
}
