// SPDX-License-Identifier: Apache-2.0
// hotbackup export: the journal to volumes.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "common/config/quantity.h"
#include "common/journal/reader.h"
#include "tools/hotbackup/command_line.h"
#include "tools/hotbackup/command_log.h"
#include "tools/resync/command.h"
#include "tools/resync/found.h"
#include "tools/resync/hook.h"
#include "tools/resync/places.h"
#include "tools/resync/progress.h"
#include "tools/resync/volume_writer.h"

namespace hotbackup::resync {
namespace {

struct ExportOptions {
  std::string group;
  std::string into;
  std::optional<std::uint64_t> from;
  std::string size = "1 GB";
  std::string every = "1 min";
  std::string next_volume;
  std::string filter;
  bool follow = false;
  bool dry_run = false;
};

std::atomic<bool> stopping{false};

/// A copy shows no more than is applied, but its journal has it; on a master what is published.
UpdateNumber exportable(control::Group& group) {
  return group.role() == control::Role::kMaster ? group.published() : group.synced();
}

/// Where the volumes of a directory end; nothing when there are none of this group.
std::optional<Found> newest_volume(const std::string& directory, const GroupId& id) {
  const auto found = find_files({directory});
  if (!found) return std::nullopt;
  std::optional<Found> newest;
  for (const Found& one : *found)
    if (one.volume && one.problem.empty() && one.group_id() == id.to_hex() &&
        (!newest || one.last() > newest->last()))
      newest = one;
  return newest;
}

Result<> ask_for_next(const ExportOptions& options, const std::string& group,
                      std::uint64_t volume) {
  if (!options.next_volume.empty())
    return run_hook(options.next_volume, "next_volume", group, UpdateNumber(0),
                    {"HOTBACKUP_VOLUME=" + std::to_string(volume)}, std::chrono::hours(24));
  if (::isatty(0) == 0)
    return fail(ErrorCode::kConfig, options.into + " is full: volume " + std::to_string(volume) +
                                        " needs a terminal to ask at, or --next-volume COMMAND");
  std::fprintf(stderr, "Prepare volume %llu at %s and press Enter (q ends): ",
               static_cast<unsigned long long>(volume), options.into.c_str());
  char line[64];
  if (std::fgets(line, sizeof line, stdin) == nullptr || line[0] == 'q')
    return fail(ErrorCode::kCancelled,
                "ended at the question for volume " + std::to_string(volume));
  return {};
}

class Command {
 public:
  Command(const Session& session, const ExportOptions& options)
      : session_(session), options_(options) {}
  Result<int> run();

 private:
  Result<Position> start(const Destination& to);
  Result<> copy(VolumeWriter& writer, journal::Reader& reader);
  void print(const VolumeWriter& writer) const;

  const Session& session_;
  const ExportOptions& options_;
  std::unique_ptr<cli::OpenGroup> opened_;
  std::string predecessor_;
  std::chrono::milliseconds every_{};
};

/// --from-number, else behind the volumes that are there, else where the journal begins.
Result<Position> Command::start(const Destination& to) {
  control::Group& group = *opened_->group;
  os::Directory& directory = group.journal_directory();
  UpdateNumber from;
  if (options_.from) {
    if (*options_.from == 0) return fail(ErrorCode::kConfig, "--from-number: updates begin with 1");
    from = UpdateNumber(*options_.from);
  } else if (const auto before = to.kind == Destination::Kind::kDirectory
                                     ? newest_volume(to.path, group.id())
                                     : std::nullopt) {
    from = UpdateNumber(before->last()).next();
    predecessor_ = std::filesystem::path(before->path).filename();
    auto at = journal::position_at(directory, group.id(), from.previous());
    if (at && at->chain.to_hex() != before->end.value("chain", ""))
      return fail(ErrorCode::kDiverged,
                  before->path + " is not of this journal's history: export into a new directory");
    if (!at) return fail(std::move(at).error().with_context("behind " + before->path));
    return at;
  } else {
    HOTBACKUP_ASSIGN(from, journal::oldest_update(directory));
  }
  auto at = journal::position_at(directory, group.id(), from.previous());
  if (!at && at.error().code() == ErrorCode::kGap)
    return fail(Error(ErrorCode::kRefused, at.error().text() + ": make a new save"));
  return at;
}

Result<> Command::copy(VolumeWriter& writer, journal::Reader& reader) {
  control::Group& group = *opened_->group;
  const auto start = exportable(group);
  Progress progress("exporting " + opened_->settings->name,
                    start.value - std::min(start.value, writer.position().number.value), "updates");
  const std::uint64_t base = writer.position().number.value;
  std::uint64_t bytes = 0;
  auto closed = std::chrono::steady_clock::now();
  for (;;) {
    const std::uint32_t ticket = group.published_ticket();
    const UpdateNumber through = exportable(group);
    for (;;) {
      HOTBACKUP_ASSIGN(const auto frame, reader.next(through));
      if (!frame) break;
      HOTBACKUP_TRY(writer.frame(*frame));
      bytes += frame->bytes.size();
      progress.at(writer.position().number.value - base, bytes);
    }
    if (!options_.follow || stopping.load()) return writer.close();
    // What waits in an open volume protects nobody.
    const auto now = std::chrono::steady_clock::now();
    if (now - closed >= every_) {
      HOTBACKUP_TRY(writer.close());
      closed = now;
    }
    group.wait_published(ticket, std::min(every_, std::chrono::milliseconds(200)));
  }
}

void Command::print(const VolumeWriter& writer) const {
  Json volumes = Json::array();
  for (const VolumeReport& one : writer.volumes())
    volumes.push_back(
        Json{{"path", one.path}, {"first", one.first}, {"last", one.last}, {"bytes", one.bytes}});
  std::FILE* to = options_.into == "-" ? stderr : stdout;
  if (session_.json) {
    std::fprintf(to, "%s\n",
                 Json{{"group", opened_->settings->name},
                      {"group_id", opened_->group->id().to_hex()},
                      {"last", writer.position().number.value},
                      {"volumes", std::move(volumes)}}
                     .dump()
                     .c_str());
    return;
  }
  for (const VolumeReport& one : writer.volumes())
    std::fprintf(to, "%s  updates %s … %s, %s\n", one.path.c_str(), human_count(one.first).c_str(),
                 human_count(one.last).c_str(), human_bytes(one.bytes).c_str());
  if (writer.volumes().empty())
    std::fprintf(to, "%s  nothing new behind update %s\n", opened_->settings->name.c_str(),
                 human_count(writer.position().number.value).c_str());
}

Result<int> Command::run() {
  HOTBACKUP_ASSIGN(opened_, cli::open_group(session_, options_.group));
  VolumePlace place;
  HOTBACKUP_ASSIGN(place.bytes, config::parse_size(options_.size));
  HOTBACKUP_ASSIGN(every_, config::parse_duration(options_.every));
  HOTBACKUP_ASSIGN(place.to, destination(options_.into));
  place.filter = options_.filter;
  HOTBACKUP_ASSIGN(const Position from, start(place.to));
  const UpdateNumber through = exportable(*opened_->group);
  if (from.number > through)
    return fail(ErrorCode::kRefused,
                "the journal ends with update " + std::to_string(through.value));
  if (options_.dry_run) {
    std::printf("would export updates %s … %s of %s\n", human_count(from.number.value + 1).c_str(),
                human_count(through.value).c_str(), opened_->settings->name.c_str());
    return cli::kDone;
  }
  if (place.to.kind != Destination::Kind::kDirectory)
    place.next_ready = [this](std::uint64_t volume) {
      return ask_for_next(options_, opened_->settings->name, volume);
    };
  const bool in_directory = place.to.kind == Destination::Kind::kDirectory;
  VolumeWriter writer(*opened_->group, std::move(place), from, predecessor_);
  journal::Reader reader(opened_->group->journal_directory(), opened_->group->id());
  if (from.number < through || options_.follow) {
    if (const auto found = reader.seek(from.number.next());
        !found && !(from.number == through && options_.follow))
      return fail(found.error());
    std::signal(SIGTERM, [](int) { stopping.store(true); });
    std::signal(SIGINT, [](int) { stopping.store(true); });
    HOTBACKUP_TRY(copy(writer, reader));
  }
  if (in_directory)
    if (const auto noted = note_place(*opened_->group, options_.into); !noted)
      std::fprintf(stderr, "warning: %s\n", noted.error().text().c_str());
  print(writer);
  return cli::kDone;
}

}  // namespace

void add_export(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("export", "The journal to volumes, each readable alone");
  auto options = std::make_shared<ExportOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command
      ->add_option("--into", options->into,
                   "directory (a file each volume), new file, pipe, device or -")
      ->type_name("DIR|FILE|DEVICE")
      ->required();
  command
      ->add_option("--from-number", options->from,
                   "first update (default: behind the volumes that are there, else the oldest)")
      ->transform(cli::update_number());
  command->add_option("--volume-size", options->size, "about; an update is never divided")
      ->capture_default_str();
  command->add_flag("--follow", options->follow, "goes on as the journal grows, until SIGTERM");
  command
      ->add_option("--every", options->every,
                   "with --follow: a volume that is not full is closed after this time")
      ->capture_default_str();
  command
      ->add_option("--next-volume", options->next_volume,
                   "makes the next volume ready ($HOTBACKUP_VOLUME); else it is asked for")
      ->type_name("COMMAND");
  command->add_option("--filter", options->filter, "shell command the volumes go through")
      ->type_name("COMMAND");
  command->add_flag("--dry-run", options->dry_run, "says what would be exported");
  command->callback([&session, options] {
    session.action = [&session, options] { return Command(session, *options).run(); };
  });
}

}  // namespace hotbackup::resync
