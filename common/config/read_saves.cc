// SPDX-License-Identifier: Apache-2.0
#include "common/config/read_saves.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/config/data_path.h"
#include "common/config/vocabulary.h"

namespace hotbackup::config {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

std::optional<unsigned> two_digits(std::string_view text, unsigned below) {
  unsigned value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.size() != 2 || error != std::errc{} || rest != text.data() + 2 || value >= below)
    return std::nullopt;
  return value;
}

std::optional<unsigned> minute_of_day(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  const auto hour = two_digits(text.substr(0, 2), 24);
  const auto minute = two_digits(text.substr(3), 60);
  if (!hour || !minute) return std::nullopt;
  return *hour * 60 + *minute;
}

std::optional<unsigned> day_of_week(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const auto at = std::find(kDays.begin(), kDays.end(), upper);
  if (at == kDays.end()) return std::nullopt;
  return static_cast<unsigned>(at - kDays.begin());
}

}  // namespace

Result<Schedule> parse_schedule(std::string_view text) {
  using Kind = Schedule::Kind;
  Schedule schedule;
  if (text == "off" || text.empty()) return schedule;
  if (text.starts_with("daily ")) {
    schedule.kind = Kind::kDaily;
    if (const auto minute = minute_of_day(text.substr(6))) {
      schedule.minute = *minute;
      return schedule;
    }
  } else if (text.starts_with("weekly ")) {
    schedule.kind = Kind::kWeekly;
    const std::string_view rest = text.substr(7);
    const std::size_t space = rest.find(' ');
    const auto day = day_of_week(rest.substr(0, space));
    const auto minute = space == rest.npos ? std::nullopt : minute_of_day(rest.substr(space + 1));
    if (day && minute) {
      schedule.weekday = *day;
      schedule.minute = *minute;
      return schedule;
    }
  } else if (const auto every = parse_duration(text)) {
    schedule.kind = Kind::kEvery;
    schedule.every = *every;
    return schedule;
  }
  return fail(ErrorCode::kConfig,
              in_quotes(text) +
                  " is not \"daily 02:00\", \"weekly SUN 02:00\", a duration such as \"6 h\", or "
                  "\"off\"");
}

std::string to_text(const Schedule& schedule) {
  char time[8];
  std::snprintf(time, sizeof time, "%02u:%02u", schedule.minute / 60 % 24, schedule.minute % 60);
  switch (schedule.kind) {
    case Schedule::Kind::kDaily:
      return std::string("daily ") + time;
    case Schedule::Kind::kWeekly:
      return "weekly " + std::string(kDays[schedule.weekday % kDays.size()]) + " " + time;
    case Schedule::Kind::kEvery:
      return to_text(schedule.every);
    case Schedule::Kind::kOff:
      break;
  }
  return "off";
}

void read_saves(const Table& table, Group& group, Faults& faults) {
  TableReader reader(table, "[group.saves]", faults);
  Saves& saves = group.saves;
  reader.read("full", saves.full, parse_schedule);
  reader.read_or_off("differential", saves.differential, parse_duration);
  reader.read_list("into", parse_absolute_path, [&](std::string place, Mark at) {
    if (std::count(saves.into.begin(), saves.into.end(), place) != 0)
      reader.refuse("into", at, in_quotes(place) + " stands there twice");
    saves.into.push_back(std::move(place));
  });
  reader.read_or_off("keep", saves.keep, parse_duration);
  reader.read("verify", saves.verify, one_of(kVerify));
  for (const auto& [key, command] :
       {std::pair<std::string_view, std::string*>{"filter", &saves.filter},
        {"unfilter", &saves.unfilter}})
    if (const std::string* text = reader.string(key); text != nullptr && *text != "off")
      *command = *text;
  reader.finish();
  if (saves.any() && saves.into.empty())
    reader.refuse("into",
                  reader.at(saves.full.kind == Schedule::Kind::kOff ? "differential" : "full"),
                  "it names no directory, so there is nowhere to save into");
  if (saves.any() && saves.verify == Verify::kApp && group.drill.empty())
    reader.refuse("verify", reader.at("verify"),
                  "\"app\" runs the group's 'drill' hook, which is not set");
  if (saves.any() && !saves.filter.empty() && saves.unfilter.empty() &&
      saves.verify != Verify::kRead)
    faults.warn(reader.at("filter"),
                "'filter' in [group.saves]: without 'unfilter' a save cannot be restored for its "
                "verification: the filtered bytes are read instead");
}

}  // namespace hotbackup::config
