// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/schedule.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <set>
#include <tuple>

#include "common/base/clock.h"

namespace hotbackup::resync {
namespace {

using Kind = config::Schedule::Kind;
using Nanoseconds = std::chrono::nanoseconds;

constexpr std::int64_t kSecond = 1'000'000'000;
/// An attempt that failed is repeated after its period, but not later than this.
constexpr std::int64_t kRetry = 600 * kSecond;

/// The schedule's time of day, `days` from the day of `from`.
std::int64_t on_day(const config::Schedule& schedule, std::int64_t from_ns, int days) {
  const std::time_t seconds = static_cast<std::time_t>(from_ns / kSecond);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  local.tm_mday += days;
  local.tm_hour = static_cast<int>(schedule.minute / 60);
  local.tm_min = static_cast<int>(schedule.minute % 60);
  local.tm_sec = 0;
  local.tm_isdst = -1;
  return static_cast<std::int64_t>(std::mktime(&local)) * kSecond;
}

bool on_weekday(const config::Schedule& schedule, std::int64_t time_ns) {
  if (schedule.kind != Kind::kWeekly) return true;
  const std::time_t seconds = static_cast<std::time_t>(time_ns / kSecond);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return static_cast<unsigned>(local.tm_wday) == schedule.weekday;
}

/// How far each valid save and the valid volumes reach.
std::map<const SaveFact*, std::uint64_t> reach_of_saves(const std::vector<SaveFact>& files) {
  std::vector<const SaveFact*> volumes;
  for (const SaveFact& one : files)
    if (one.volume && one.valid) volumes.push_back(&one);
  std::ranges::sort(volumes, {}, &SaveFact::first);
  std::map<const SaveFact*, std::uint64_t> reaches;
  for (const SaveFact& save : files) {
    if (save.volume || !save.valid) continue;
    std::uint64_t last = save.last;
    for (const SaveFact* volume : volumes)
      if (volume->first <= last + 1) last = std::max(last, volume->last);
    reaches[&save] = last;
  }
  return reaches;
}

std::int64_t newest_full(const SavePlace& place, std::int64_t now_ns, bool valid) {
  std::int64_t newest = 0;
  for (const SaveFact& one : place.files)
    // A time to come is of a clock that was wrong: it must not keep saves from being made.
    if (!one.volume && one.valid == valid && one.time_ns <= now_ns)
      newest = std::max(newest, one.time_ns);
  return newest;
}

const SaveFact* newest_verified(const SavePlace& place) {
  const SaveFact* newest = nullptr;
  for (const SaveFact& one : place.files)
    if (!one.volume && one.valid && one.verified &&
        (newest == nullptr || one.time_ns > newest->time_ns))
      newest = &one;
  return newest;
}

}  // namespace

std::int64_t period_ns(const config::Schedule& schedule) {
  switch (schedule.kind) {
    case Kind::kDaily:
      return 24 * 3600 * kSecond;
    case Kind::kWeekly:
      return 7 * 24 * 3600 * kSecond;
    case Kind::kEvery:
      return Nanoseconds(schedule.every).count();
    case Kind::kOff:
      break;
  }
  return 0;
}

std::int64_t slot_before(const config::Schedule& schedule, std::int64_t now_ns) {
  if (schedule.kind == Kind::kEvery) return now_ns - period_ns(schedule);
  for (int days = 0;; --days)
    if (const std::int64_t time = on_day(schedule, now_ns, days);
        time <= now_ns && on_weekday(schedule, time))
      return time;
}

std::int64_t slot_after(const config::Schedule& schedule, std::int64_t from_ns) {
  if (schedule.kind == Kind::kEvery) return from_ns + period_ns(schedule);
  for (int days = 0;; ++days)
    if (const std::int64_t time = on_day(schedule, from_ns, days);
        time > from_ns && on_weekday(schedule, time))
      return time;
}

std::optional<std::int64_t> next_full(const config::Saves& saves, const SavePlace& place,
                                      std::int64_t now_ns) {
  if (saves.full.kind == Kind::kOff) return std::nullopt;
  const std::int64_t done = newest_full(place, now_ns, /*valid=*/true);
  // What failed, or did not prove right, is not repeated at once.
  const std::int64_t failed = std::max(newest_full(place, now_ns, /*valid=*/false),
                                       place.full_failed_ns <= now_ns ? place.full_failed_ns : 0);
  const std::int64_t due = done == 0 ? now_ns : slot_after(saves.full, done);
  if (failed <= done) return due;
  return std::max(due, failed + std::min(kRetry, period_ns(saves.full)));
}

std::optional<std::int64_t> next_differential(const config::Saves& saves, const SavePlace& place,
                                              std::int64_t now_ns) {
  if (!saves.differential) return std::nullopt;
  std::int64_t done = place.differential_ns <= now_ns ? place.differential_ns : 0;
  bool save = false;
  for (const SaveFact& one : place.files) {
    save = save || (!one.volume && one.valid);
    if (one.valid && one.time_ns <= now_ns) done = std::max(done, one.time_ns);
  }
  // Behind a save only; where saves are made by hand, from the first moment on.
  if (!save && saves.full.kind != Kind::kOff) return std::nullopt;
  return done == 0 ? now_ns : done + Nanoseconds(*saves.differential).count();
}

Due what_is_due(const config::Saves& saves, const std::vector<SavePlace>& places,
                std::int64_t now_ns) {
  Due due;
  const auto look = [&](std::optional<std::int64_t> time, std::size_t place,
                        std::vector<std::size_t>& list) {
    if (!time) return;
    if (*time <= now_ns)
      list.push_back(place);
    else
      due.next_ns = std::min(due.next_ns.value_or(*time), *time);
  };
  for (std::size_t i = 0; i < places.size(); ++i) {
    look(next_full(saves, places[i], now_ns), i, due.full);
    look(next_differential(saves, places[i], now_ns), i, due.differential);
  }
  return due;
}

// Saves stay while they are young; besides, the newest one (by number, by time, and of those that
// were verified), and those that a young volume needs.
std::vector<std::string> removable(const std::vector<SaveFact>& files,
                                   std::chrono::milliseconds keep, std::int64_t now_ns) {
  const std::int64_t cutoff = now_ns - Nanoseconds(keep).count();
  const auto young = [cutoff](const SaveFact& one) { return one.time_ns >= cutoff; };
  const auto reaches = reach_of_saves(files);
  const SaveFact* highest = nullptr;
  const SaveFact* newest = nullptr;
  const SaveFact* verified = nullptr;
  for (const auto& [save, last] : reaches) {
    if (highest == nullptr ||
        std::tie(save->last, save->time_ns) > std::tie(highest->last, highest->time_ns))
      highest = save;
    if (newest == nullptr || save->time_ns > newest->time_ns) newest = save;
    if (save->verified && (verified == nullptr || save->time_ns > verified->time_ns))
      verified = save;
  }
  std::set<const SaveFact*> kept;
  for (const SaveFact& one : files)
    if (!one.volume && (young(one) || &one == highest || &one == newest || &one == verified))
      kept.insert(&one);
  for (const SaveFact& one : files) {
    if (!one.volume || !one.valid || !young(one)) continue;
    const SaveFact* best = nullptr;
    for (const auto& [save, last] : reaches) {
      if (save->last > one.last || last < one.last) continue;
      if (best == nullptr || kept.contains(save) ||
          (save->last > best->last && !kept.contains(best)))
        best = save;
    }
    if (best != nullptr) kept.insert(best);
  }
  std::vector<const SaveFact*> gone;
  std::optional<std::uint64_t> lowest;  // what the kept saves start from
  for (const SaveFact& one : files) {
    if (one.volume) continue;
    if (!kept.contains(&one))
      gone.push_back(&one);
    else if (one.valid)
      lowest = std::min(lowest.value_or(one.last), one.last);
  }
  for (const SaveFact& one : files)
    if (one.volume && !young(one) && (!one.valid || (lowest && one.last <= *lowest)))
      gone.push_back(&one);
  // A save goes before the volumes that only it needs.
  std::ranges::stable_sort(gone, [](const SaveFact* a, const SaveFact* b) {
    return std::tuple(a->volume, a->last) < std::tuple(b->volume, b->last);
  });
  std::vector<std::string> paths;
  for (const SaveFact* one : gone) paths.push_back(one->path);
  return paths;
}

Removals next_removals(const config::Saves& saves, const SavePlace& place, std::int64_t now_ns) {
  Removals removals;
  const auto next = next_full(saves, place, now_ns);
  if (!saves.keep || !next) return removals;
  removals.time_ns = std::max(*next, now_ns);
  std::vector<SaveFact> files = place.files;
  SaveFact coming;
  coming.verified = true;
  coming.time_ns = removals.time_ns;
  for (const SaveFact& one : files) coming.last = std::max(coming.last, one.last);
  coming.first = coming.last;
  files.push_back(coming);
  removals.paths = removable(files, *saves.keep, removals.time_ns);
  return removals;
}

std::optional<std::uint64_t> expected_bytes(const config::Saves& saves, const SavePlace& place) {
  const SaveFact* newest = nullptr;
  std::int64_t oldest_ns = 0;
  std::uint64_t volume_bytes = 0;
  for (const SaveFact& one : place.files) {
    if (!one.volume && one.valid && (newest == nullptr || one.time_ns > newest->time_ns))
      newest = &one;
    if (!one.volume && (oldest_ns == 0 || one.time_ns < oldest_ns)) oldest_ns = one.time_ns;
    if (one.volume) volume_bytes += one.bytes;
  }
  const std::int64_t period = period_ns(saves.full);
  if (newest == nullptr || !saves.keep || period == 0) return std::nullopt;
  const std::int64_t keep = Nanoseconds(*saves.keep).count();
  // Those that are young, the one before them, and the one that is being made.
  const auto saved = static_cast<std::uint64_t>(keep / period + 2) * newest->bytes;
  std::int64_t until_ns = newest->time_ns;
  for (const SaveFact& one : place.files) until_ns = std::max(until_ns, one.time_ns);
  const auto seen = static_cast<double>(std::max<std::int64_t>(until_ns - oldest_ns, period));
  return saved + static_cast<std::uint64_t>(static_cast<double>(volume_bytes) *
                                            (static_cast<double>(keep + period) / seen));
}

Standing how_it_stands(const config::Saves& saves, const std::vector<SavePlace>& places,
                       std::int64_t since_ns, std::int64_t now_ns) {
  Standing standing;
  const std::int64_t period = period_ns(saves.full);
  if (period == 0) return standing;
  const SaveFact* newest = nullptr;
  for (const SavePlace& place : places)
    if (const SaveFact* one = newest_verified(place);
        one != nullptr && (newest == nullptr || one->time_ns > newest->time_ns))
      newest = one;
  const std::int64_t age = now_ns - (newest != nullptr ? newest->time_ns : since_ns);
  if (age > 2 * period)
    standing.too_old =
        (newest != nullptr ? "the newest verified save, of update " + human_count(newest->last) +
                                 ", is " + human_duration(Nanoseconds(age)) + " old"
                           : "no save was verified for " + human_duration(Nanoseconds(age))) +
        "; one is due every " + human_duration(Nanoseconds(period));
  if (newest == nullptr || places.size() < 2) return standing;
  std::string there;
  std::string missing;
  std::size_t count = 0;
  for (const SavePlace& place : places) {
    const SaveFact* one = newest_verified(place);
    if (one != nullptr && one->time_ns >= newest->time_ns - period / 2) {
      ++count;
      there = place.path;
    } else {
      missing += (missing.empty() ? "" : "; ") + place.path + ": " +
                 (place.problem.empty() ? "no verified save of that time" : place.problem);
    }
  }
  if (count < 2)
    standing.one_place = "the newest verified save, of update " + human_count(newest->last) +
                         ", stands in " + there + " only (" + missing + ")";
  return standing;
}

}  // namespace hotbackup::resync
