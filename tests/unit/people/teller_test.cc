// SPDX-License-Identifier: Apache-2.0
#include "common/people/teller.h"

#include <doctest/doctest.h>

#include "common/people/channel.h"

namespace hotbackup::people {
namespace {

using catalogue::IncidentRecord;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'800'000'000)};
constexpr milliseconds kSettle{2000};

IncidentRecord raised(const std::string& code = "HB-link-down", const std::string& group = "dns") {
  IncidentRecord record;
  record.group = group;
  record.code = code;
  record.subject = "lyon";
  record.first = record.last = kNow;
  return record;
}
IncidentRecord cleared(const std::string& code = "HB-link-down") {
  IncidentRecord record = raised(code);
  record.cleared = kNow + seconds(1);
  return record;
}

Teller teller(config::Severity from = config::Severity::kWarning,
              std::vector<std::string> groups = {"*"}) {
  return Teller({"file:/tmp/told", from, std::move(groups)});
}

}  // namespace

TEST_CASE("an incident is told once, soon, and so is its end") {
  Teller t = teller();
  t.note(raised(), kSettle, kNow);
  CHECK(t.take(kNow).empty());
  const auto told = t.take(kNow + Teller::kGather);
  REQUIRE(told.size() == 1);
  CHECK_FALSE(told[0].cleared);
  CHECK(t.take(kNow + minutes(10)).empty());
  t.note(cleared(), kSettle, kNow + minutes(10));
  CHECK(t.waits(cleared()));
  CHECK(t.take(kNow + minutes(10) + seconds(1)).empty());
  const auto over = t.take(kNow + minutes(10) + kSettle);
  REQUIRE(over.size() == 1);
  CHECK(over[0].cleared);
  CHECK_FALSE(t.waits(cleared()));
}

TEST_CASE("a flapping link is one message with a count") {
  Teller t = teller();
  std::size_t messages = 0;
  std::uint64_t times = 0;
  WallTime now = kNow;
  for (int i = 0; i < 500; ++i, now += seconds(1)) {
    t.note(i % 2 == 0 ? raised() : cleared(), kSettle, now);
    for (const Notice& notice : t.take(now + milliseconds(500))) {
      ++messages;
      CHECK_FALSE(notice.cleared);
    }
  }
  CHECK(messages == 1);
  for (const Notice& notice : t.take(now + minutes(1))) {
    CHECK(notice.cleared);
    times = notice.times;
  }
  CHECK(times == 250);
}

TEST_CASE("one that flaps slowly is held back after a few messages, and not forgotten") {
  Teller t = teller();
  std::size_t messages = 0;
  WallTime now = kNow;
  for (int i = 0; i < 120; ++i, now += seconds(5)) {  // ten minutes
    t.note(i % 2 == 0 ? raised() : cleared(), kSettle, now);
    messages += t.take(now + seconds(4)).size();
  }
  CHECK(messages <= 8);
  CHECK(messages >= 4);
  const auto rest = t.take(now + hours(1));
  REQUIRE(rest.size() == 1);
  CHECK(rest[0].cleared);
  CHECK(rest[0].times > 20);
}

TEST_CASE("what came and went before it was told is told as over") {
  Teller t = teller();
  t.note(raised(), kSettle, kNow);
  t.note(cleared(), kSettle, kNow + milliseconds(100));
  const auto told = t.take(kNow + seconds(3));
  REQUIRE(told.size() == 1);
  CHECK(told[0].cleared);
  CHECK(t.take(kNow + hours(1)).empty());
}

TEST_CASE("incidents of one fault are one message") {
  Teller t = teller();
  t.note(raised(), kSettle, kNow);
  t.note(raised("HB-loss-limit"), kSettle, kNow + milliseconds(100));
  CHECK(t.take(kNow + seconds(1)).size() == 2);
}

TEST_CASE("a flood of different incidents is few messages, and all are told") {
  Teller t = teller();
  std::size_t messages = 0;
  std::size_t notices = 0;
  for (int i = 0; i < 600; ++i) {
    const WallTime now = kNow + seconds(i);
    IncidentRecord incident = raised("HB-unlogged");
    incident.subject = std::to_string(i);
    t.note(incident, kSettle, now);
    const auto told = t.take(now + milliseconds(500));
    messages += told.empty() ? 0 : 1;
    notices += told.size();
  }
  for (int i = 0; i < 60; ++i) notices += t.take(kNow + hours(1) + minutes(i)).size();
  CHECK(messages <= 32);
  CHECK(notices == 600);
}

TEST_CASE("severity and group decide who is told") {
  Teller errors = teller(config::Severity::kError);
  errors.note(raised("HB-orphans"), kSettle, kNow);  // a warning
  CHECK(errors.take(kNow + minutes(1)).empty());
  Teller mail = teller(config::Severity::kNotice, {"mail"});
  mail.note(raised(), kSettle, kNow);
  CHECK(mail.take(kNow + minutes(1)).empty());
  mail.note(raised("HB-fenced", "mail"), kSettle, kNow);
  CHECK(mail.take(kNow + minutes(1)).size() == 1);
}

TEST_CASE("who cannot be reached is not told of it, the others are") {
  IncidentRecord incident = raised("HB-notify-failed");
  incident.subject = "file:/tmp/told";
  Teller t = teller();
  t.note(incident, kSettle, kNow);
  CHECK(t.take(kNow + minutes(1)).empty());
  incident.subject = "mailto:ops@example.org";
  t.note(incident, kSettle, kNow);
  CHECK(t.take(kNow + minutes(1)).size() == 1);
}

TEST_CASE(
    "an open incident is told again after a day, and an old one known from before is not new") {
  Teller t = teller();
  t.resume(raised(), kNow);
  CHECK(t.take(kNow + hours(1)).empty());
  const auto again = t.take(kNow + hours(24));
  REQUIRE(again.size() == 1);
  CHECK(again[0].reminder);
  t.note(cleared(), kSettle, kNow + hours(25));
  CHECK(t.take(kNow + hours(26)).at(0).cleared);
}

TEST_CASE("pauses between tries grow to an hour") {
  CHECK(Channel::pause_after(1) == seconds(5));
  CHECK(Channel::pause_after(2) == seconds(10));
  CHECK(Channel::pause_after(9) == seconds(1280));
  CHECK(Channel::pause_after(60) == hours(1));
}

}  // namespace hotbackup::people
