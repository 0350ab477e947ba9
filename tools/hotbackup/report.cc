// SPDX-License-Identifier: Apache-2.0
// hotbackup report: how a group did over days, against its objectives. From the catalogue and the
// group's file of promotions; no server is asked.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "common/catalogue/catalogue.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

using catalogue::Catalogue;
using catalogue::Sample;
using nlohmann::ordered_json;

struct ReportOptions {
  std::string group;
  std::string last = "30d";
};

struct Spread {
  std::size_t count = 0;
  double median = 0;
  double p99 = 0;
  double highest = 0;
};

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto at = [&](double share) {
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
  };
  return {values.size(), at(0.5), at(0.99), values.back()};
}

ordered_json to_json(const Spread& spread) {
  if (spread.count == 0) return nullptr;
  return {{"median", spread.median}, {"p99", spread.p99}, {"max", spread.highest}};
}

/// An objective in force, and how it went.
struct Objective {
  std::optional<double> seconds;
  std::size_t looked_at = 0;
  std::size_t missed = 0;
  bool met() const { return missed == 0; }
};

struct Report {
  WallTime from;
  WallTime to;
  std::size_t minutes = 0;
  std::size_t good = 0;  // of them, nothing was to do
  Spread exposure;
  Spread lag;
  Spread round_trip;
  Objective rpo;
  Objective rto;
  std::vector<ordered_json> changes;  // promotions and switches made here
  std::map<std::string, std::uint64_t> incidents;
};

Result<std::chrono::hours> parse_last(const std::string& text) {
  const std::size_t digits = text.find_first_not_of("0123456789");
  std::string words = text;
  if (digits != std::string::npos && digits != 0 && text.substr(digits) == "d")
    words = text.substr(0, digits) + " days";
  auto parsed = config::parse_duration(words);
  if (!parsed) return fail(std::move(parsed).error().with_context("--last"));
  const auto hours = std::chrono::ceil<std::chrono::hours>(*parsed);
  return std::min(hours, Catalogue::kHistoryKept);
}

std::optional<double> seconds_of(const std::optional<config::milliseconds>& objective) {
  if (!objective) return std::nullopt;
  return std::chrono::duration<double>(*objective).count();
}

void read_samples(Catalogue& history, const std::string& group, Report& report) {
  const auto samples = history.samples(group, report.from);
  if (!samples) return;
  std::vector<double> exposure;
  std::vector<double> lag;
  std::vector<double> trips;
  for (const Sample& sample : *samples) {
    ++report.minutes;
    report.good += sample.good ? 1 : 0;
    lag.push_back(sample.lag_seconds);
    if (sample.round_trip_ms) trips.push_back(*sample.round_trip_ms);
    if (sample.role != "master") continue;
    exposure.push_back(sample.exposure_seconds);
    ++report.rpo.looked_at;
    if (report.rpo.seconds && sample.exposure_seconds > *report.rpo.seconds) ++report.rpo.missed;
  }
  report.exposure = spread_of(std::move(exposure));
  report.lag = spread_of(std::move(lag));
  report.round_trip = spread_of(std::move(trips));
}

/// <group>/promotions: a line a change of roles that ended with this node as master.
void read_changes(const std::string& directory, Report& report) {
  std::ifstream file(directory + "/promotions");
  const std::string from = iso8601(report.from);
  for (std::string line; std::getline(file, line);) {
    ordered_json change = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!change.is_object() || !change.value("time", ordered_json()).is_string() ||
        change["time"].get<std::string>() < from)
      continue;
    double ms = 0;
    if (const auto steps = change.find("steps"); steps != change.end() && steps->is_array())
      for (const ordered_json& step : *steps)
        if (step.is_object() && step.value("ms", ordered_json()).is_number())
          ms += step["ms"].get<double>();
    change["ms"] = ms;
    ++report.rto.looked_at;
    if (report.rto.seconds && ms > *report.rto.seconds * 1000) ++report.rto.missed;
    report.changes.push_back(std::move(change));
  }
}

Result<Report> make_report(const config::Configuration& configuration,
                           const config::Group& settings, std::chrono::hours last) {
  Report report;
  report.to = wall_now();
  report.from = report.to - last;
  report.rpo.seconds = seconds_of(settings.rpo);
  report.rto.seconds = seconds_of(settings.rto);
  auto history = Catalogue::open(configuration.node.state, Catalogue::Access::kRead);
  if (!history && history.error().code() != ErrorCode::kNotFound)
    return fail(std::move(history).error());
  if (history) {
    read_samples(*history, settings.name, report);
    HOTBACKUP_ASSIGN(const auto incidents,
                     history->incidents(settings.name, Catalogue::kIncidentsMax));
    for (const catalogue::IncidentRecord& incident : incidents)
      if (incident.first >= report.from) ++report.incidents[incident.code];
  }
  read_changes(group_directory(configuration, settings.name), report);
  return report;
}

ordered_json to_json(const Objective& objective) {
  if (!objective.seconds) return nullptr;
  return {
      {"seconds", *objective.seconds},
      {"looked_at", objective.looked_at},
      {"missed", objective.missed},
      {"met", objective.looked_at == 0 ? ordered_json(nullptr) : ordered_json(objective.met())}};
}

void print_json(const config::Group& settings, const Report& report) {
  ordered_json out{{"group", settings.name},
                   {"from", iso8601(report.from)},
                   {"to", iso8601(report.to)},
                   {"minutes", report.minutes},
                   {"minutes_good", report.good},
                   {"exposure_seconds", to_json(report.exposure)},
                   {"lag_seconds", to_json(report.lag)},
                   {"test_round_trip_ms", to_json(report.round_trip)},
                   {"rpo", to_json(report.rpo)},
                   {"rto", to_json(report.rto)},
                   {"changes", report.changes},
                   {"incidents", report.incidents}};
  std::printf("%s\n", out.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

void print(const char* name, const Spread& spread, const char* unit) {
  if (spread.count == 0)
    std::printf("  %-10s not known\n", name);
  else
    std::printf("  %-10s median %.3g %s, 99 %% below %.3g %s, highest %.3g %s\n", name,
                spread.median, unit, spread.p99, unit, spread.highest, unit);
}

void print(const char* name, const Objective& objective, const char* what) {
  if (!objective.seconds)
    std::printf("  %-10s off\n", name);
  else if (objective.looked_at == 0)
    std::printf("  %-10s %.3g s: not known, no %s\n", name, *objective.seconds, what);
  else
    std::printf("  %-10s %.3g s: %s, in %zu of %zu %s\n", name, *objective.seconds,
                objective.met() ? "met" : "MISSED",
                objective.met() ? objective.looked_at : objective.missed, objective.looked_at,
                what);
}

void print(const config::Group& settings, const Report& report) {
  std::printf("%s  %s to %s\n", settings.name.c_str(), iso8601(report.from).c_str(),
              iso8601(report.to).c_str());
  std::printf("  watched    %zu minutes, in %zu of them nothing was to do\n", report.minutes,
              report.good);
  print("exposure", report.exposure, "s");
  print("lag", report.lag, "s");
  print("round trip", report.round_trip, "ms");
  print("rpo", report.rpo, "minutes as master");
  print("rto", report.rto, "changes of role");
  for (const ordered_json& change : report.changes)
    std::printf("  change     %s  %s  %.0f ms  lost %s\n",
                change.value("time", std::string()).c_str(),
                change.value("kind", std::string()).c_str(), change.value("ms", 0.0),
                change.value("lost", std::string()).c_str());
  for (const auto& [code, count] : report.incidents)
    std::printf("  incident   %s  %s\n", code.c_str(), human_count(count).c_str());
}

Result<int> show_report(const Session& session, const ReportOptions& options) {
  HOTBACKUP_ASSIGN(const auto last, parse_last(options.last));
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  HOTBACKUP_ASSIGN(const config::Group* settings, config::find_group(configuration, options.group));
  HOTBACKUP_ASSIGN(const Report report, make_report(configuration, *settings, last));
  if (session.json)
    print_json(*settings, report);
  else
    print(*settings, report);
  return report.rpo.met() && report.rto.met() ? kDone : kFound;
}

}  // namespace

void add_report(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "report", "How a group did against its objectives rpo and rto; exit 4 when one was missed");
  auto options = std::make_shared<ReportOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--last", options->last, "how far back (30d)")->type_name("TIME");
  command->callback([&session, options] {
    session.action = [&session, options] { return show_report(session, *options); };
  });
}

}  // namespace hotbackup::cli
