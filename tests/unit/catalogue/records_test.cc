// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/stat.h>

#include "common/catalogue/catalogue.h"
#include "common/catalogue/values.h"
#include "tests/support/temporary_directory.h"

namespace hotbackup::catalogue {
namespace {

using Access = Catalogue::Access;
using std::chrono::hours;
using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'800'000'000)};

IncidentRecord incident(const std::string& group, const std::string& code) {
  IncidentRecord record;
  record.group = group;
  record.code = code;
  record.subject = "lyon";
  record.text = "a \"strange\" text\n\xff";
  record.first = record.last = kNow;
  return record;
}

}  // namespace

TEST_CASE("a reader finds no catalogue before a server has made one") {
  test::TemporaryDirectory state;
  const auto none = Catalogue::open(state.path(), Access::kRead);
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == ErrorCode::kNotFound);
}

TEST_CASE("incidents outlive the process that kept them, open ones apart") {
  test::TemporaryDirectory state;
  {
    auto catalogue = Catalogue::open(state.path(), Access::kWrite);
    REQUIRE(catalogue);
    IncidentRecord first = incident("dns", "HB-link-down");
    REQUIRE(catalogue->keep(first));
    CHECK(first.id == 1);
    IncidentRecord second = incident("mail", "HB-fenced");
    REQUIRE(catalogue->keep(second));
    first.cleared = kNow + seconds(5);
    first.count = 7;
    first.told = IncidentRecord::Told::kCleared;
    REQUIRE(catalogue->keep(first));
  }
  auto catalogue = Catalogue::open(state.path(), Access::kRead);
  REQUIRE(catalogue);
  const auto all = catalogue->incidents("", 10);
  REQUIRE(all);
  REQUIRE(all->size() == 2);
  CHECK(all->at(0).code == "HB-fenced");
  CHECK(all->at(1).id == 1);
  CHECK(all->at(1).cleared == kNow + seconds(5));
  CHECK(all->at(1).count == 7);
  CHECK(all->at(1).told == IncidentRecord::Told::kCleared);
  CHECK(all->at(1).text.starts_with("a \"strange\" text\n"));
  CHECK(catalogue->incidents("dns", 10)->size() == 1);
  CHECK(catalogue->incidents("", 1)->size() == 1);
  CHECK(catalogue->incidents("", 10, 1)->size() == 1);
  REQUIRE(catalogue->open_incidents()->size() == 1);
  CHECK(catalogue->open_incidents()->at(0).code == "HB-fenced");
}

TEST_CASE("what cannot be delivered is there again after a restart, until it is dropped") {
  test::TemporaryDirectory state;
  DeliveryRecord delivery;
  delivery.to = "file:/tmp/x";
  delivery.message = "{}";
  delivery.made = delivery.next = kNow;
  {
    auto catalogue = Catalogue::open(state.path(), Access::kWrite);
    REQUIRE(catalogue);
    REQUIRE(catalogue->keep(delivery));
    delivery.attempts = 3;
    REQUIRE(catalogue->keep(delivery));
  }
  auto catalogue = Catalogue::open(state.path(), Access::kWrite);
  REQUIRE(catalogue);
  const auto waiting = catalogue->deliveries();
  REQUIRE(waiting);
  REQUIRE(waiting->size() == 1);
  CHECK(waiting->at(0).to == "file:/tmp/x");
  CHECK(waiting->at(0).attempts == 3);
  REQUIRE(catalogue->drop_delivery(waiting->at(0).id));
  CHECK(catalogue->deliveries()->empty());
}

TEST_CASE("history is by group, from a time on, and old history goes") {
  test::TemporaryDirectory state;
  auto catalogue = Catalogue::open(state.path(), Access::kWrite);
  REQUIRE(catalogue);
  const auto keep = [&](const std::string& group, WallTime time, double lag) {
    Sample sample;
    sample.time = time;
    sample.role = "master";
    sample.lag_seconds = lag;
    REQUIRE(catalogue->keep(group, sample));
  };
  keep("dns", kNow - Catalogue::kHistoryKept - hours(1), 1);
  keep("dns2", kNow - Catalogue::kHistoryKept - hours(1), 2);
  keep("dns", kNow - hours(1), 3);
  keep("dns", kNow, 4);
  keep("dns", kNow, 5);  // the same minute again
  const auto all = catalogue->samples("dns", WallTime());
  REQUIRE(all);
  REQUIRE(all->size() == 2);
  CHECK(all->at(0).lag_seconds == 3);
  CHECK(all->at(1).lag_seconds == 5);
  CHECK(catalogue->samples("dns", kNow)->size() == 1);
  CHECK(catalogue->samples("dns2", WallTime())->size() == 1);
}

TEST_CASE("a value of a later version that lacks what this one needs is left out") {
  CHECK_FALSE(incident_of("{}"));
  CHECK_FALSE(incident_of(""));
  CHECK_FALSE(sample_of("[1]"));
  CHECK_FALSE(delivery_of("{\"to\": 3}"));
  CHECK_FALSE(role_of("{\"time_ns\": \"x\"}"));
}

}  // namespace hotbackup::catalogue
