// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/restore.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "common/control/test_environment.h"
#include "common/lmdb/resident_limit.h"
#include "common/os/ownership.h"
#include "common/os/process.h"
#include "tools/resync/progress.h"
#include "tools/resync/save.h"
#include "tools/resync/save_reader.h"

namespace hotbackup::resync {

Result<Restored> Restore::run(const Chain& chain, const Target& target) {
  HOTBACKUP_TRY(build(chain));
  if (!chain.volumes.empty()) HOTBACKUP_TRY(replay(chain, target));
  HOTBACKUP_TRY(place_all());
  return restored_;
}

/// The place is looked at before anything is built there.
Result<slave::SeedTarget*> Restore::add(update::EnvironmentBody body) {
  for (const auto& [there, here] : way_.owners)
    if (body.owner == there) {
      body.owner = here;
      break;
    }
  HOTBACKUP_ASSIGN(Place place, way_.place(body, restored_.head));
  for (const auto& [number, other] : places_)
    if (other.path == place.path)
      return fail(ErrorCode::kConfig, "two environments would share " + place.path);
  const os::Permissions permissions = slave::owner_and_mode(body);
  os::Permissions directory = permissions;
  directory.mode |= 0700 | (permissions.mode & 0444) >> 2;
  HOTBACKUP_TRY(
      os::make_directories(slave::data_directory(place.path, body.subdirectory), directory));
  const auto holds = lmdb::has_items(place.path, body.subdirectory, place.rules);
  if (!holds && !way_.replace)
    return fail(ErrorCode::kRefused,
                place.path + " is in the way and cannot be read: " + holds.error().text());
  if (holds && *holds && !way_.replace)
    return fail(ErrorCode::kRefused,
                place.path +
                    " holds items: nothing is restored over them without --replace, "
                    "which keeps them aside");
  HOTBACKUP_ASSIGN(auto target,
                   slave::SeedTarget::make(permissions, body, place.path, place.rules));
  const EnvironmentNumber number = body.number;
  places_[number] = std::move(place);
  restored_.environments.push_back({std::move(body), places_[number].path, {}, {}});
  return (targets_[number] = std::move(target)).get();
}

Result<> Restore::take(const Block& block) {
  if (block.kind == BlockKind::kFile) return files_->take(block);
  if (block.kind != BlockKind::kFrames) return {};
  return each_frame(block.raw, [&](const journal::FrameView& frame) -> Result<> {
    if (frame.header.kind == journal::FrameKind::kEnvironment) {
      HOTBACKUP_ASSIGN(auto body, update::read_environment(frame.body));
      if (control::is_test_environment(body.name)) {
        left_out_ = body.number;
        return {};
      }
      return add(std::move(body)).map([](auto*) {});
    }
    if (frame.header.environment == left_out_) return {};
    const auto target = targets_.find(frame.header.environment);
    if (target == targets_.end())
      return fail(ErrorCode::kCorrupt, "an item of an environment that was not named");
    HOTBACKUP_ASSIGN(const std::uint64_t items, target->second->write(frame.body));
    restored_.items += items;
    lmdb::trim_resident();
    return {};
  });
}

Result<> Restore::build(const Chain& chain) {
  HOTBACKUP_ASSIGN(auto reader,
                   SaveReader::open(chain.save->path, chain.save->filter(way_.filter)));
  restored_.head = reader->head();
  files_ = std::make_unique<CarriedFiles>(way_.files_root, way_.owners);
  HOTBACKUP_ASSIGN(const auto hash, chain_from_hex(restored_.head.value("chain", "")));
  restored_.position = {epoch_of(restored_.head),
                        UpdateNumber(restored_.head.value("number", std::uint64_t{0})), hash};
  Progress progress("restoring " + restored_.head.value("group", ""),
                    restored_.head.value("items", std::uint64_t{0}));
  std::uint64_t bytes = 0;
  for (;;) {
    HOTBACKUP_ASSIGN(const auto block, reader->next());
    if (!block) break;
    HOTBACKUP_TRY(take(*block));
    bytes += block->raw.size();
    progress.at(restored_.items, bytes);
  }
  restored_.end = reader->end();
  HOTBACKUP_TRY(files_->check(reader->end().value("files", Json::array())));
  restored_.content_hash = reader->end().value("content_hash", "");
  for (const auto& [number, target] : targets_) HOTBACKUP_TRY(target->complete());
  return {};
}

Result<> Restore::replay(const Chain& chain, const Target& target) {
  Replay replay(
      [&](const update::EnvironmentBody& body) -> Result<std::optional<Replay::Place>> {
        if (control::is_test_environment(body.name)) return std::nullopt;
        HOTBACKUP_ASSIGN(slave::SeedTarget * made, add(body));
        HOTBACKUP_TRY(made->complete());
        return Replay::Place{made->build(), false};
      },
      {});
  for (const auto& [number, built] : targets_) replay.know(number, {built->build(), false});
  const Until until(target);
  Progress progress("replaying " + restored_.head.value("group", ""),
                    chain.last - restored_.position.number.value, "updates");
  const std::uint64_t base = restored_.position.number.value;
  std::uint64_t bytes = 0;
  const auto read = read_volumes(chain.volumes, restored_.position, way_.filter,
                                 [&](const journal::FrameView& frame) -> Result<bool> {
                                   if (frame.header.part == 0 && !until.takes(frame.header))
                                     return false;
                                   HOTBACKUP_TRY(replay.frame(frame));
                                   bytes += frame.bytes.size();
                                   if (!frame.header.last_part) return true;
                                   restored_.position = {frame.header.epoch, frame.header.number,
                                                         journal::chain_after(frame.bytes)};
                                   progress.at(frame.header.number.value - base, bytes);
                                   return true;
                                 });
  if (!read) return fail(read.error());
  HOTBACKUP_TRY(replay.flush());
  restored_.updates = restored_.position.number.value - base;
  if (restored_.updates != 0) restored_.content_hash.clear();
  return {};
}

// Programs that have the file open keep it: what it holds is copied aside, and the new content goes
// into it through LMDB. Otherwise the file itself goes aside.
Result<std::string> Restore::keep_aside(Restored::Environment& environment) {
  const std::string& path = environment.path;
  const bool subdirectory = environment.body.subdirectory;
  const std::string file = lmdb::data_file(path, subdirectory);
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return std::string();
  const auto& rules = places_[environment.body.number].rules;
  const auto holds = lmdb::has_items(path, subdirectory, rules);
  if (holds && !*holds) return std::string();
  const std::string aside = path + ".replaced-" + way_.aside;
  environment.programs =
      os::processes_mapping(status.st_ino, std::filesystem::path(file).filename().string()).pids;
  if (holds && (!environment.programs.empty() || !rules.empty())) {
    lmdb::OpenOptions options;
    options.path = path;
    options.subdirectory = subdirectory;
    options.read_only = true;
    HOTBACKUP_ASSIGN(auto old, lmdb::Environment::open(options));
    if (subdirectory && ::mkdir(aside.c_str(), 0700) != 0) return fail_errno("making " + aside);
    if (const int rc = mdb_env_copy(old.get(), aside.c_str()); rc != 0)
      return lmdb::fail_lmdb("keeping " + path + " aside", rc);
    os::give(lmdb::data_file(aside, subdirectory), {status.st_uid, status.st_gid, status.st_mode});
    return aside;
  }
  if (subdirectory && ::mkdir(aside.c_str(), 0700) != 0) return fail_errno("making " + aside);
  if (::rename(file.c_str(), lmdb::data_file(aside, subdirectory).c_str()) != 0)
    return fail_errno("keeping " + file + " aside");
  return aside;
}

Result<> Restore::place_all() {
  for (auto& environment : restored_.environments) {
    if (way_.replace) {
      HOTBACKUP_ASSIGN(environment.aside, keep_aside(environment));
    }
  }
  for (const auto& environment : restored_.environments)
    HOTBACKUP_TRY(
        targets_.at(environment.body.number)->install(slave::owner_and_mode(environment.body)));
  HOTBACKUP_TRY(files_->place(way_.replace, way_.aside));
  restored_.files = files_->count();
  targets_.clear();
  return {};
}

}  // namespace hotbackup::resync
