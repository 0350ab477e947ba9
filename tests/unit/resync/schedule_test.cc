// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/schedule.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <random>

using namespace hotbackup;
using namespace hotbackup::resync;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kHour = 3600 * kSecond;
constexpr std::int64_t kDay = 24 * kHour;

/// 2026-03-02T00:00:00Z, a Monday.
constexpr std::int64_t kMonday = std::int64_t{1772409600} * kSecond;

class Zone {
 public:
  explicit Zone(const char* name) {
    if (const char* old = std::getenv("TZ")) before_ = old;
    ::setenv("TZ", name, 1);
    ::tzset();
  }
  ~Zone() {
    if (before_.empty())
      ::unsetenv("TZ");
    else
      ::setenv("TZ", before_.c_str(), 1);
    ::tzset();
  }

 private:
  std::string before_;
};

config::Schedule schedule(const char* text) {
  return config::parse_schedule(text).value();
}

config::Saves saves(const char* full, std::chrono::milliseconds keep = std::chrono::hours(24)) {
  config::Saves saves;
  saves.full = schedule(full);
  saves.into = {"/a"};
  saves.keep = keep;
  return saves;
}

SaveFact save(std::uint64_t number, std::int64_t time_ns, bool verified = true) {
  return {"save-" + std::to_string(number) + "-" + std::to_string(time_ns),
          false,
          true,
          verified,
          number,
          number,
          time_ns,
          100};
}
SaveFact volume(std::uint64_t first, std::uint64_t last, std::int64_t time_ns) {
  return {"volume-" + std::to_string(first) + "-" + std::to_string(last) + "-" +
              std::to_string(time_ns),
          true,
          true,
          true,
          first,
          last,
          time_ns,
          10};
}

SavePlace place(std::vector<SaveFact> files, const char* path = "/a") {
  SavePlace place;
  place.path = path;
  place.files = std::move(files);
  return place;
}

/// What can be reached from the valid saves there.
std::uint64_t reach(const std::vector<SaveFact>& files, std::int64_t not_before_ns = 0) {
  std::uint64_t best = 0;
  for (const SaveFact& from : files) {
    if (from.volume || !from.valid || from.time_ns < not_before_ns) continue;
    std::uint64_t last = from.last;
    for (bool more = true; more;) {
      more = false;
      for (const SaveFact& one : files)
        if (one.volume && one.valid && one.first <= last + 1 && one.last > last) {
          last = one.last;
          more = true;
        }
    }
    best = std::max(best, last);
  }
  return best;
}

/// Whether the state at update `number` can be restored.
bool restorable(const std::vector<SaveFact>& files, std::uint64_t number) {
  for (const SaveFact& from : files) {
    if (from.volume || !from.valid || from.last > number) continue;
    if (reach([&] {
          std::vector<SaveFact> some{from};
          for (const SaveFact& one : files)
            if (one.volume) some.push_back(one);
          return some;
        }()) >= number)
      return true;
  }
  return false;
}

}  // namespace

TEST_CASE("daily and weekly saves are due at the local time of day") {
  const Zone zone("Europe/Berlin");  // UTC+1 in winter
  const auto daily = schedule("daily 02:00");
  CHECK(slot_before(daily, kMonday + kHour) == kMonday + kHour);  // 01:00Z is 02:00 there
  CHECK(slot_before(daily, kMonday + kHour - 1) == kMonday + kHour - kDay);
  CHECK(slot_after(daily, kMonday + kHour) == kMonday + kHour + kDay);
  const auto weekly = schedule("weekly SUN 02:00");
  CHECK(slot_before(weekly, kMonday + kHour) == kMonday + kHour - kDay);
  CHECK(slot_after(weekly, kMonday + kHour) == kMonday + kHour + 6 * kDay);
}

TEST_CASE("when the clocks change a daily save still comes once a day") {
  const Zone zone("Europe/Berlin");
  const auto daily = schedule("daily 02:30");  // not there on the last Sunday of March
  std::int64_t at = kMonday;
  for (int days = 0; days < 400; ++days) {
    const std::int64_t next = slot_after(daily, at);
    CHECK(next - at >= 22 * kHour - (days == 0 ? kDay : 0));
    CHECK(next - at <= 26 * kHour);
    at = next;
  }
}

TEST_CASE("a place without a save is due at once, a missed hour is made up for") {
  const Zone zone("UTC");
  const auto wanted = saves("daily 02:00");
  const std::int64_t now = kMonday + 12 * kHour;
  CHECK(next_full(wanted, place({}), now) == now);
  CHECK(*next_full(wanted, place({save(5, kMonday - 12 * kHour)}), now) <= now);  // off at 02:00
  CHECK(next_full(wanted, place({save(5, kMonday + 3 * kHour)}), now) ==
        kMonday + kDay + 2 * kHour);
  CHECK(next_full(saves("6 h"), place({save(5, kMonday + 9 * kHour)}), now) ==
        kMonday + 15 * kHour);
  CHECK_FALSE(next_full(saves("off"), place({}), now));
  // A save from the future is of a clock that was wrong.
  CHECK(next_full(wanted, place({save(5, now + kDay)}), now) == now);
}

TEST_CASE("what failed or proved invalid is made again after a while, not at once") {
  const Zone zone("UTC");
  const std::int64_t now = kMonday + 12 * kHour;
  SavePlace failed = place({save(5, kMonday - kDay)});
  failed.full_failed_ns = now - kSecond;
  CHECK(next_full(saves("daily 02:00"), failed, now) == now - kSecond + 600 * kSecond);
  CHECK(next_full(saves("2 s"), failed, now) == now + kSecond);
  SavePlace invalid = place({save(5, now - kSecond)});
  invalid.files[0].valid = false;
  CHECK(next_full(saves("daily 02:00"), invalid, now) == now - kSecond + 600 * kSecond);
  // A success afterwards counts.
  failed.files.push_back(save(6, now));
  CHECK(next_full(saves("daily 02:00"), failed, now) == kMonday + kDay + 2 * kHour);
}

TEST_CASE("volumes are due behind a save, counted from the newest file or look") {
  config::Saves wanted = saves("daily 02:00");
  wanted.differential = std::chrono::minutes(15);
  const std::int64_t quarter = 900 * kSecond;
  CHECK_FALSE(next_differential(wanted, place({}), kMonday));
  CHECK(next_differential(wanted, place({save(5, kMonday)}), kMonday) == kMonday + quarter);
  SavePlace looked = place({save(5, kMonday), volume(6, 9, kMonday + quarter)});
  CHECK(next_differential(wanted, looked, kMonday + quarter) == kMonday + 2 * quarter);
  looked.differential_ns = kMonday + 2 * quarter;  // and there was nothing new
  CHECK(next_differential(wanted, looked, kMonday + 2 * quarter) == kMonday + 3 * quarter);
  wanted.full = {};
  CHECK(next_differential(wanted, place({}), kMonday) == kMonday);
}

TEST_CASE("each place has its own turn") {
  const auto wanted = saves("6 h");
  const Due due =
      what_is_due(wanted, {place({save(5, kMonday)}), place({}, "/b")}, kMonday + kHour);
  CHECK(due.full == std::vector<std::size_t>{1});
  CHECK(due.next_ns == kMonday + 6 * kHour);
}

TEST_CASE(
    "old saves go, with the volumes that only they need; invalid ones are no reason to keep") {
  const std::int64_t now = kMonday + 10 * kDay;
  std::vector<SaveFact> files{save(10, now - 5 * kDay), volume(11, 20, now - 4 * kDay),
                              save(20, now - 3 * kDay), volume(21, 30, now - 2 * kDay),
                              save(30, now - kHour)};
  const auto keep = std::chrono::hours(24);
  CHECK(removable(files, keep, now) ==
        std::vector<std::string>{files[0].path, files[2].path, files[1].path, files[3].path});
  files.back().valid = false;
  CHECK(removable(files, keep, now) == std::vector<std::string>{files[0].path, files[1].path});
}

TEST_CASE("the last save that was verified stays although a newer one was not") {
  const std::int64_t now = kMonday + 10 * kDay;
  const std::vector<SaveFact> files{save(10, now - 5 * kDay), save(20, now - 3 * kDay),
                                    save(30, now - 2 * kDay, /*verified=*/false)};
  CHECK(removable(files, std::chrono::hours(24), now) == std::vector<std::string>{files[0].path});
}

TEST_CASE("over many rounds nothing that is to be kept becomes unreachable") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    const std::int64_t keep = (1 + random() % 5) * kDay;
    std::vector<SaveFact> files;
    std::int64_t now = kMonday;
    std::uint64_t number = 1;
    std::uint64_t in_volumes = 0;
    for (int round = 0; round < 200; ++round) {
      now += kHour * (1 + random() % 12);
      const std::uint64_t before = number;
      number += random() % 30;
      if (number > before && !chance(10)) {  // else a volume is missing
        files.push_back(volume(std::max(in_volumes, before) + 1, number, now));
        if (files.back().first > files.back().last) files.pop_back();
      }
      in_volumes = number;
      if (chance(25)) files.push_back(save(number, now, chance(80)));
      if (chance(5) && !files.empty()) files[random() % files.size()].valid = false;
      if (chance(2)) now -= kDay;  // the clock is set back
      const std::vector<SaveFact> all = files;
      const auto gone = removable(files, std::chrono::milliseconds(keep / 1'000'000), now);
      std::erase_if(files, [&](const SaveFact& one) {
        return std::ranges::find(gone, one.path) != gone.end();
      });
      REQUIRE(reach(files) == reach(all));
      // Every state that a young file reaches: the moments of the last `keep`.
      for (const SaveFact& one : all)
        if (one.valid && one.time_ns >= now - keep && restorable(all, one.last))
          REQUIRE(restorable(files, one.last));
      // Nothing is kept for ever: what is old and needed by nothing has gone.
      for (const SaveFact& one : files)
        if (one.volume && one.valid && one.time_ns < now - keep) {
          bool needed = false;
          bool save = false;
          for (const SaveFact& from : files) {
            save = save || (!from.volume && from.valid);
            needed = needed || (!from.volume && from.valid && from.last < one.last);
          }
          CHECK((needed || !save));
        }
    }
  }
}

TEST_CASE("a verified save that is older than two periods, or in one place only, is told") {
  const Zone zone("UTC");
  config::Saves wanted = saves("6 h");
  const std::int64_t now = kMonday + kDay;
  const auto stands = [&](std::vector<SavePlace> places, std::int64_t since = kMonday) {
    return how_it_stands(wanted, places, since, now);
  };
  CHECK(stands({place({save(5, now - 12 * kHour)})}).too_old.empty());
  CHECK_FALSE(stands({place({save(5, now - 12 * kHour - 1)})}).too_old.empty());
  CHECK_FALSE(stands({place({save(5, now, /*verified=*/false)})}).too_old.empty());
  CHECK(stands({place({})}, now - kHour).too_old.empty());  // there was no time yet
  CHECK_FALSE(stands({place({})}).too_old.empty());
  const SavePlace one = place({save(5, now - kHour)});
  SavePlace behind = place({save(4, now - 7 * kHour)}, "/b");
  behind.problem = "no space";
  const auto standing = stands({one, behind});
  CHECK(standing.one_place ==
        "the newest verified save, of update 5, stands in /a only (/b: no space)");
  CHECK(stands({one, place({save(6, now - kHour + kSecond)}, "/b")}).one_place.empty());
  CHECK(stands({one}).one_place.empty());
}

TEST_CASE("the plan says what goes when the next save is there") {
  const Zone zone("UTC");
  const auto wanted = saves("daily 02:00", std::chrono::hours(48));
  const std::int64_t now = kMonday + 12 * kHour;
  const SavePlace there = place({save(10, kMonday - 30 * kHour), save(20, kMonday - 22 * kHour),
                                 save(30, kMonday + 2 * kHour)});
  const Removals next = next_removals(wanted, there, now);
  CHECK(next.time_ns == kMonday + 26 * kHour);
  CHECK(next.paths == std::vector<std::string>{there.files[0].path});
  CHECK(removable(there.files, *wanted.keep, now).empty());
  CHECK(expected_bytes(wanted, there) == 400);
}
