// SPDX-License-Identifier: Apache-2.0
// hotbackup load: volumes, in order, into a slave's journal or into environments restored
// somewhere.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "common/base/bytes.h"
#include "common/control/test_environment.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/log_printer.h"
#include "tools/resync/command.h"
#include "tools/resync/history.h"
#include "tools/resync/progress.h"
#include "tools/resync/replay.h"
#include "tools/resync/restored_place.h"

namespace hotbackup::resync {
namespace {

struct LoadOptions {
  std::string group;
  std::vector<std::string> from;
  bool list = false;
  bool follow = false;
  std::string until = "end";
  std::vector<std::string> environments;
  std::optional<std::string> database;
  std::optional<std::string> key;
  std::string into;
  std::vector<std::string> as;
  std::string filter;
  bool data = false;
};

constexpr std::chrono::milliseconds kFollowLook{300};
constexpr std::uint64_t kSyncBytes = 8 << 20;

std::atomic<bool> stopping{false};

/// As printed: text, or 0x… for bytes.
std::optional<std::string> bytes_of(const std::optional<std::string>& text) {
  if (text && text->starts_with("0x"))
    if (auto bytes = unhex(std::string_view(*text).substr(2))) return bytes;
  return text;
}

/// Where updates go to, one after the other.
class Receiver {
 public:
  virtual ~Receiver() = default;
  virtual Result<Position> position() = 0;
  virtual GroupId id() const = 0;
  virtual Result<> frame(const journal::FrameView& frame) = 0;
  /// Durable so far.
  virtual Result<> flush(const Position& at) = 0;
};

/// Environments that `restore --into` has made.
class PlaceReceiver final : public Receiver {
 public:
  static Result<std::unique_ptr<PlaceReceiver>> open(const std::string& directory,
                                                     Selection selection,
                                                     std::map<std::string, std::string> renamed) {
    HOTBACKUP_ASSIGN(auto place, read_restored_place(directory));
    return std::unique_ptr<PlaceReceiver>(
        new PlaceReceiver(directory, std::move(place), std::move(selection), std::move(renamed)));
  }

  Result<Position> position() override { return place_.position; }
  GroupId id() const override { return place_.id; }
  Result<> frame(const journal::FrameView& frame) override { return replay_.frame(frame); }
  Result<> flush(const Position& at) override {
    HOTBACKUP_TRY(replay_.flush());
    // What was selected from is no copy at that update.
    if (!whole_) return {};
    place_.position = at;
    return write_restored_place(directory_, place_);
  }

 private:
  PlaceReceiver(std::string directory, RestoredPlace place, Selection selection,
                std::map<std::string, std::string> renamed)
      : directory_(std::move(directory)),
        place_(std::move(place)),
        whole_(selection.all() && renamed.empty()),
        environments_(selection.environments),
        renamed_(std::move(renamed)),
        replay_([this](const auto& body) { return add(body); }, std::move(selection)) {
    for (const auto& one : place_.environments)
      if (wanted(one.name)) {
        auto to = renamed_.find(one.name);
        if (to == renamed_.end())
          replay_.know(one.number, {one.path, one.subdirectory});
        else
          redirect_[one.number] = one;
      }
  }

  bool wanted(const std::string& name) const {
    return environments_.empty() ||
           std::find(environments_.begin(), environments_.end(), name) != environments_.end();
  }

  Result<std::optional<Replay::Place>> add(const update::EnvironmentBody& body) {
    if (!wanted(body.name) || control::is_test_environment(body.name)) return std::nullopt;
    const auto renamed = renamed_.find(body.name);
    const std::string path =
        directory_ + "/" + (renamed == renamed_.end() ? body.name : renamed->second);
    const auto permissions = slave::owner_and_mode(body);
    HOTBACKUP_TRY(os::make_directories(slave::data_directory(path, body.subdirectory),
                                       {permissions.uid, permissions.gid, 0750}));
    if (!std::filesystem::exists(lmdb::data_file(path, body.subdirectory)))
      HOTBACKUP_TRY(
          slave::create_environment_file(path, body.subdirectory, body.map_bytes, permissions));
    if (renamed == renamed_.end())
      place_.environments.push_back({body.number, body.name, path, body.subdirectory});
    return Replay::Place{path, body.subdirectory};
  }

 public:
  /// Environments that go elsewhere begin empty there, whatever the volumes describe.
  Result<> make_redirected() {
    for (const auto& [number, one] : redirect_) {
      update::EnvironmentBody body;
      body.number = number;
      body.name = one.name;
      body.subdirectory = one.subdirectory;
      HOTBACKUP_ASSIGN(auto place, add(body));
      if (place) replay_.know(number, std::move(*place));
    }
    return {};
  }

 private:
  const std::string directory_;
  RestoredPlace place_;
  const bool whole_;
  const std::vector<std::string> environments_;
  const std::map<std::string, std::string> renamed_;
  std::map<EnvironmentNumber, RestoredPlace::Environment> redirect_;
  Replay replay_;
};

/// A slave's own journal, which its server applies and goes on from when its master calls.
class JournalReceiver final : public Receiver {
 public:
  static Result<std::unique_ptr<JournalReceiver>> open(std::unique_ptr<cli::OpenGroup> opened) {
    control::Group& group = *opened->group;
    const std::string name = opened->settings->name;
    if (group.role() != control::Role::kSlave)
      return fail(ErrorCode::kFenced,
                  "group " + name + " is " + std::string(cli::role_name(group.role())) +
                      " here: volumes are loaded on a slave, or with --into DIR where a save was "
                      "restored");
    if (group.id().is_none() || group.made().value == 0)
      return fail(ErrorCode::kFenced, "the copies of group " + name +
                                          " are empty: restore a save first (hotbackup restore "
                                          "--from DIR)");
    for (std::uint32_t n = 0; n < group.layout().peer_count.load(); ++n)
      if (const auto link = group.layout().peers[n].link.load();
          link == static_cast<std::uint32_t>(control::LinkState::kStreaming) ||
          link == static_cast<std::uint32_t>(control::LinkState::kSeeding))
        return fail(ErrorCode::kFenced,
                    "group " + name + " receives from its master: there is nothing to load");
    return std::unique_ptr<JournalReceiver>(new JournalReceiver(std::move(opened)));
  }

  Result<Position> position() override {
    HOTBACKUP_ASSIGN(const auto lock, group().journal().lock());
    const auto& tail = group().layout().tail;
    return Position{tail.epoch, UpdateNumber(tail.made.load()), tail.chain};
  }
  GroupId id() const override { return opened_->group->id(); }
  Result<> frame(const journal::FrameView& frame) override {
    HOTBACKUP_ASSIGN(auto lock, group().journal().lock());
    if (frame.header.part == 0 && group().made() != frame.header.number.previous())
      return fail(ErrorCode::kBusy, "somebody else appends to the journal");
    HOTBACKUP_TRY(group().journal().append_received(lock, frame));
    bytes_ += frame.bytes.size();
    if (!frame.header.last_part || bytes_ < kSyncBytes) return {};
    lock.release();
    return sync();
  }
  Result<> flush(const Position&) override { return sync(); }

 private:
  explicit JournalReceiver(std::unique_ptr<cli::OpenGroup> opened) : opened_(std::move(opened)) {}
  control::Group& group() { return *opened_->group; }
  Result<> sync() {
    HOTBACKUP_TRY(group().journal().sync_through(group().made()));
    os::futex_notify(group().layout().apply_wake);
    bytes_ = 0;
    return {};
  }
  const std::unique_ptr<cli::OpenGroup> opened_;
  std::uint64_t bytes_ = 0;
};

class Command {
 public:
  Command(const Session& session, const LoadOptions& options)
      : session_(session), options_(options) {}

  Result<int> run() {
    HOTBACKUP_ASSIGN(target_, parse_target(options_.until));
    if (options_.list) return list();
    HOTBACKUP_TRY(open());
    HOTBACKUP_ASSIGN(start_, receiver_->position());
    at_ = start_;
    if (options_.follow) {
      std::signal(SIGTERM, [](int) { stopping.store(true); });
      std::signal(SIGINT, [](int) { stopping.store(true); });
    }
    for (;;) {
      HOTBACKUP_TRY(load_what_is_there());
      if (!options_.follow || ended_ || stopping.load()) break;
      std::this_thread::sleep_for(kFollowLook);
    }
    return report();
  }

 private:
  Result<> open();
  Result<std::vector<const Found*>> wanted_volumes(const std::string& id, UpdateNumber after);
  Result<> load_what_is_there();
  Result<int> list();
  int report() const;

  const Session& session_;
  const LoadOptions& options_;
  Target target_;
  std::unique_ptr<Receiver> receiver_;
  std::vector<Found> found_;
  Position start_;
  Position at_;
  bool ended_ = false;  // the target is reached
  std::uint64_t volumes_ = 0;
};

Result<> Command::open() {
  Selection selection{options_.environments, bytes_of(options_.database), bytes_of(options_.key)};
  std::map<std::string, std::string> renamed;
  std::string under;
  for (const std::string& word : options_.as) {
    const std::size_t equals = word.find('=');
    if (word.find('/') != std::string::npos || word.empty())
      return fail(ErrorCode::kConfig, "--as takes names, not '" + word + "'");
    if (equals == std::string::npos)
      under = "/" + word;
    else
      renamed[word.substr(0, equals)] = word.substr(equals + 1);
  }
  if (!options_.into.empty()) {
    const std::string directory =
        std::filesystem::absolute(options_.into).lexically_normal().string() + under;
    auto opened = PlaceReceiver::open(directory, std::move(selection), std::move(renamed));
    if (!opened && opened.error().code() == ErrorCode::kNotFound)
      return fail(ErrorCode::kFenced, "nothing was restored into " + directory +
                                          ": restore a save there first (hotbackup restore "
                                          "--from DIR --into " +
                                          directory + ")");
    if (!opened) return fail(std::move(opened).error());
    HOTBACKUP_TRY((*opened)->make_redirected());
    receiver_ = std::move(*opened);
    return {};
  }
  if (!selection.all() || !options_.as.empty())
    return fail(ErrorCode::kConfig, "a selection, or another name, needs --into DIR");
  HOTBACKUP_ASSIGN(auto opened, cli::open_group(session_, options_.group));
  (void)cli::log_command(session_, opened->group->directory());
  HOTBACKUP_ASSIGN(receiver_, JournalReceiver::open(std::move(opened)));
  return {};
}

/// In order, without what is known; kGap, kRefused.
Result<std::vector<const Found*>> Command::wanted_volumes(const std::string& id,
                                                          UpdateNumber after) {
  std::vector<const Found*> wanted;
  std::uint64_t last = after.value;
  for (const Found& one : found_) {
    if (!one.problem.empty()) {
      if (options_.follow) continue;  // it may be on its way
      return fail(ErrorCode::kCorrupt, one.problem);
    }
    if (!one.volume) continue;
    if (one.group_id() != id)
      return fail(ErrorCode::kRefused,
                  one.path + " is of another group, " + one.group() + " (" + one.group_id() + ")");
    if (one.last() <= last) continue;
    if (one.first() > last + 1) {
      if (options_.follow) break;
      return fail(ErrorCode::kGap, "a volume is missing: updates " + std::to_string(last + 1) +
                                       " … " + std::to_string(one.first() - 1) +
                                       " are in no file there; " + one.path + " names " +
                                       one.head.value("predecessor", "") + " before it");
    }
    wanted.push_back(&one);
    last = one.last();
  }
  return wanted;
}

Result<> Command::load_what_is_there() {
  HOTBACKUP_ASSIGN(found_, find_files(options_.from, Segments::kTake));
  HOTBACKUP_ASSIGN(const auto volumes, wanted_volumes(receiver_->id().to_hex(), at_.number));
  if (volumes.empty()) return {};
  Target target = target_;
  if (target.kind == Target::Kind::kMark) {
    for (const Found* volume : volumes)
      for (const Json& mark : volume->end.value("marks", Json::array()))
        if (mark.value("name", "") == target.mark) {
          target.kind = Target::Kind::kNumber;
          target.number = mark.value("number", std::uint64_t{0});
        }
    if (target.kind == Target::Kind::kMark && !options_.follow)
      return fail(ErrorCode::kRefused, "there is no mark " + target.mark + " in those volumes");
  }
  if (target.kind == Target::Kind::kNumber && !options_.follow &&
      (target.number > volumes.back()->last() || target.number < at_.number.value))
    return fail(ErrorCode::kRefused, target_.text + " is outside of what can be loaded: updates " +
                                         std::to_string(at_.number.value) + " … " +
                                         std::to_string(volumes.back()->last()));
  const Until until(target);
  // All of it is proved before any of it counts.
  const auto proved = read_volumes(volumes, at_, options_.filter,
                                   [](const journal::FrameView&) -> Result<bool> { return true; });
  if (!proved) return fail(proved.error());
  Progress progress("loading " + volumes.front()->group(),
                    volumes.back()->last() - at_.number.value, "updates");
  const std::uint64_t base = at_.number.value;
  std::uint64_t bytes = 0;
  auto read = read_volumes(
      volumes, at_, options_.filter, [&](const journal::FrameView& frame) -> Result<bool> {
        if (frame.header.part == 0 && !until.takes(frame.header)) {
          ended_ = true;
          return false;
        }
        HOTBACKUP_TRY(receiver_->frame(frame));
        bytes += frame.bytes.size();
        if (!frame.header.last_part) return true;
        at_ = {frame.header.epoch, frame.header.number, journal::chain_after(frame.bytes)};
        progress.at(at_.number.value - base, bytes);
        return true;
      });
  if (target.kind == Target::Kind::kNumber && at_.number.value >= target.number) ended_ = true;
  volumes_ += volumes.size();
  HOTBACKUP_TRY(receiver_->flush(at_));
  return read;
}

int Command::report() const {
  if (session_.json) {
    std::printf("%s\n", Json{{"group_id", receiver_->id().to_hex()},
                             {"from", start_.number.value},
                             {"number", at_.number.value},
                             {"updates", at_.number.value - start_.number.value},
                             {"volumes", volumes_}}
                            .dump()
                            .c_str());
  } else if (at_.number == start_.number) {
    std::printf("nothing new: everything there is at update %s already\n",
                human_count(at_.number.value).c_str());
  } else {
    std::printf("loaded updates %s … %s from %llu volumes\n",
                human_count(start_.number.value + 1).c_str(), human_count(at_.number.value).c_str(),
                static_cast<unsigned long long>(volumes_));
  }
  return cli::kDone;
}

Result<int> Command::list() {
  HOTBACKUP_ASSIGN(found_, find_files(options_.from, Segments::kTake));
  HOTBACKUP_ASSIGN(const auto id, choose_group(found_, options_.group));
  std::vector<const Found*> volumes;
  std::string group;
  for (const Found& one : found_) {
    if (!one.problem.empty()) std::fprintf(stderr, "warning: not read: %s\n", one.problem.c_str());
    if (!one.volume || !one.problem.empty() || one.group_id() != id) continue;
    volumes.push_back(&one);
    group = one.group();
  }
  if (volumes.empty()) return fail(ErrorCode::kNotFound, "there is no volume there");
  std::map<EnvironmentNumber, update::EnvironmentBody> names;
  const auto name_of = [&](EnvironmentNumber number) {
    const auto known = names.find(number);
    const std::string name =
        known != names.end() ? known->second.name : "environment " + std::to_string(number.value);
    return cli::LogPrinter::Names{name, known != names.end() ? known->second.configured : name};
  };
  cli::LogFilter filter;
  if (!options_.environments.empty()) filter.environment = options_.environments.front();
  filter.database = bytes_of(options_.database);
  filter.key = bytes_of(options_.key);
  filter.data = options_.data;
  cli::LogPrinter printer(
      session_.json ? cli::LogPrinter::Form::kOneObject : cli::LogPrinter::Form::kText, filter,
      name_of);
  const Until until(target_);
  printer.begin(group);
  HOTBACKUP_ASSIGN(const auto chain, chain_from_hex(volumes.front()->head.value("chain", "")));
  const Position from{{}, UpdateNumber(volumes.front()->first()).previous(), chain};
  const auto read = read_volumes(
      volumes, from, options_.filter, [&](const journal::FrameView& frame) -> Result<bool> {
        if (frame.header.part == 0 && !until.takes(frame.header)) return false;
        if (frame.header.kind == journal::FrameKind::kEnvironment) {
          HOTBACKUP_ASSIGN(const auto body, update::read_environment(frame.body));
          names[body.number] = body;
        }
        HOTBACKUP_TRY(printer.frame(frame));
        return true;
      });
  if (!read) return fail(read.error());
  printer.end();
  return cli::kDone;
}

}  // namespace

void add_load(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "load", "Replays volumes in order: on a slave, or into what restore --into has made");
  auto options = std::make_shared<LoadOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--from", options->from, "directories of volumes, files")->required();
  command->add_flag("--list", options->list, "shows the updates, applies nothing");
  command->add_flag("--follow", options->follow,
                    "goes on as volumes arrive, until SIGTERM or the target");
  command->add_option("--until", options->until,
                      "update number, time with its zone, mark:NAME, or end (the default)");
  command->add_option("--env", options->environments, "only these environments");
  command->add_option("--db", options->database,
                      "only this database (text or 0x…; '' is the main one)");
  command->add_option("--key", options->key, "only this key (text or 0x…)");
  command->add_option("--into", options->into, "where a save was restored to")->type_name("DIR");
  command->add_option(
      "--as", options->as,
      "the name it was restored as, or ENV=NAME: an environment under another name");
  command->add_flag("--data", options->data, "with --list: each operation with key and value");
  command->add_option("--filter", options->filter, "shell command the volumes come through")
      ->type_name("COMMAND");
  command->callback([&session, options] {
    session.action = [&session, options] { return Command(session, *options).run(); };
  });
}

}  // namespace hotbackup::resync
