// SPDX-License-Identifier: Apache-2.0
#include "common/people/incident_log.h"

#include <doctest/doctest.h>

#include "tests/support/temporary_directory.h"

namespace hotbackup::people {
namespace {

using catalogue::Catalogue;
using catalogue::IncidentRecord;
using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'800'000'000)};

control::Incident raised(WallTime first, std::uint32_t count = 1, bool open = true) {
  return {"HB-link-down", "lyon", "gone", first, first + seconds(count - 1), count, open};
}

struct Fixture {
  test::TemporaryDirectory state;
  std::optional<Catalogue> catalogue;
  std::optional<IncidentLog> log;
  Fixture() { restart(); }
  void restart() {
    log.reset();
    catalogue.reset();
    auto opened = Catalogue::open(state.path(), Catalogue::Access::kWrite);
    REQUIRE(opened);
    catalogue.emplace(std::move(*opened));
    log.emplace(*catalogue);
    REQUIRE(log->resume());
  }
  std::vector<IncidentRecord> all() { return *catalogue->incidents("", 100); }
};

}  // namespace

TEST_CASE("an incident is logged once while it is open, and its end when it has gone") {
  Fixture f;
  f.log->look("dns", {raised(kNow)}, kNow);
  f.log->look("dns", {raised(kNow, 2)}, kNow + seconds(1));
  REQUIRE(f.all().size() == 1);
  CHECK_FALSE(f.all()[0].cleared);
  REQUIRE(f.log->take_changes().size() == 1);
  f.log->look("dns", {raised(kNow, 5, false)}, kNow + seconds(5));
  REQUIRE(f.all().size() == 1);
  CHECK(f.all()[0].cleared == kNow + seconds(5));
  CHECK(f.all()[0].count == 5);
  REQUIRE(f.log->take_changes().size() == 1);
}

TEST_CASE("what came and went between two looks is in the log") {
  Fixture f;
  f.log->look("dns", {raised(kNow, 1, false)}, kNow + seconds(1));
  REQUIRE(f.all().size() == 1);
  CHECK(f.all()[0].cleared);
  f.log->look("dns", {raised(kNow, 1, false)}, kNow + seconds(2));
  CHECK(f.all().size() == 1);
}

TEST_CASE("one that went and came back between two looks is two") {
  Fixture f;
  f.log->look("dns", {raised(kNow)}, kNow);
  f.log->look("dns", {raised(kNow + seconds(2))}, kNow + seconds(3));
  REQUIRE(f.all().size() == 2);
  CHECK_FALSE(f.all()[0].cleared);
  CHECK(f.all()[1].cleared == kNow + seconds(2));
}

TEST_CASE("a restart of the watch neither loses nor repeats an incident") {
  Fixture f;
  f.log->look("dns", {raised(kNow)}, kNow);
  f.log->note_told(f.log->take_changes().at(0));
  f.restart();
  CHECK(f.log->take_changes().empty());
  f.log->look("dns", {raised(kNow)}, kNow + seconds(1));
  CHECK(f.log->take_changes().empty());
  CHECK(f.all().size() == 1);
  f.log->look("dns", {}, kNow + seconds(2));
  CHECK(f.all().at(0).cleared);
  // Not told before the next end: the next watch has it to tell.
  f.restart();
  REQUIRE(f.log->take_changes().size() == 1);
  f.log->look("dns", {raised(kNow, 1, false)}, kNow + seconds(3));
  CHECK(f.all().size() == 1);
}

TEST_CASE("groups do not clear each other's incidents") {
  Fixture f;
  f.log->look("dns", {raised(kNow)}, kNow);
  f.log->look("mail", {}, kNow);
  CHECK_FALSE(f.all().at(0).cleared);
}

}  // namespace hotbackup::people
