// SPDX-License-Identifier: Apache-2.0
// hotbackup save: a full copy of a group while people work.
#include <cstdio>
#include <filesystem>

#include "common/config/quantity.h"
#include "tools/hotbackup/command_log.h"
#include "tools/resync/command.h"
#include "tools/resync/places.h"
#include "tools/resync/save.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

struct SaveOptions {
  std::string group;
  std::string into;
  std::string filter;
  std::string growth;
  bool dry_run = false;
};

int print_plan(const Session& session, const config::Group& settings, const SavePlan& plan) {
  if (session.json)
    std::printf("%s\n", Json{{"group", settings.name},
                             {"dry_run", true},
                             {"number", plan.position.number.value},
                             {"items", plan.items},
                             {"data_bytes", plan.bytes}}
                            .dump()
                            .c_str());
  else
    std::printf("would save %s at update %s: about %s items, %s in data files at most\n",
                settings.name.c_str(), human_count(plan.position.number.value).c_str(),
                human_count(plan.items).c_str(), human_bytes(plan.bytes).c_str());
  return cli::kDone;
}

void print_report(const Session& session, const std::string& path, const SaveReport& report,
                  std::FILE* to) {
  const Json& head = report.head;
  const Json& end = report.end;
  if (session.json) {
    const Json json{{"group", head["group"]},
                    {"group_id", head["group_id"]},
                    {"number", head["number"]},
                    {"epoch", head["epoch"]},
                    {"chain", head["chain"]},
                    {"time", head["time"]},
                    {"path", path},
                    {"bytes", report.bytes},
                    {"items", end["items"]},
                    {"content_hash", end["content_hash"]},
                    {"growth_bytes", end["growth_bytes"]},
                    {"seconds", end["seconds"]},
                    {"environments", head["environments"].size()},
                    {"files", end["files"].size()}};
    std::fprintf(to, "%s\n", json.dump().c_str());
    return;
  }
  const double seconds = end["seconds"];
  std::fprintf(
      to,
      "%s  saved at update %s: %s items of %zu environments, %s in %s, content %s\n  into %s\n"
      "  data files grew by %s meanwhile\n",
      head["group"].get<std::string>().c_str(), human_count(head["number"]).c_str(),
      human_count(end["items"]).c_str(), head["environments"].size(),
      human_bytes(report.bytes).c_str(),
      human_duration(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9))).c_str(),
      end["content_hash"].get<std::string>().c_str(), path.c_str(),
      human_bytes(end["growth_bytes"]).c_str());
}

Result<int> save(const Session& session, const SaveOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
  SaveLimits limits;
  if (!options.growth.empty()) {
    HOTBACKUP_ASSIGN(limits.growth_bytes_max, config::parse_size(options.growth));
  }
  HOTBACKUP_ASSIGN(auto save, Save::begin(*opened->group, opened->settings));
  if (options.dry_run) return print_plan(session, *opened->settings, save->plan());
  HOTBACKUP_ASSIGN(const auto to, destination(options.into));
  std::string path = to.path;
  if (to.kind == Destination::Kind::kDirectory)
    path = (std::filesystem::path(to.path) / save->file_name()).string();
  if (const auto logged = cli::log_command(session, opened->group->directory()); !logged)
    std::fprintf(stderr, "warning: %s\n", logged.error().text().c_str());
  HOTBACKUP_ASSIGN(auto sink, to.kind == Destination::Kind::kStream
                                  ? open_stream_sink(path, options.filter)
                                  : make_file_sink(path, options.filter));
  HOTBACKUP_ASSIGN(const auto report, save->write(*sink, limits));
  HOTBACKUP_TRY(sink->finish());
  if (to.kind == Destination::Kind::kDirectory)
    if (const auto noted = note_place(*opened->group, to.path); !noted)
      std::fprintf(stderr, "warning: %s\n", noted.error().text().c_str());
  print_report(session, path, report, path == "-" ? stderr : stdout);
  return cli::kDone;
}

}  // namespace

void add_save(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "save", "Full save of all environments of a group at one update number, while work goes on");
  auto options = std::make_shared<SaveOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command
      ->add_option("--into", options->into,
                   "directory, new file, pipe, device, or - for standard output")
      ->type_name("DIR|FILE|-")
      ->required();
  command->add_option("--filter", options->filter, "shell command the save goes through: age, gpg")
      ->type_name("COMMAND");
  command
      ->add_option("--max-growth", options->growth,
                   "ends the save when data files grow by more (default: half of the free space)")
      ->type_name("SIZE");
  command->add_flag("--dry-run", options->dry_run, "says what would be saved");
  command->callback([&session, options] {
    session.action = [&session, options] { return save(session, *options); };
  });
}

}  // namespace hotbackup::resync
