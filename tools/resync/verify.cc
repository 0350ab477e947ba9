// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/verify.h"

#include <filesystem>

#include "common/lmdb/content_digest.h"
#include "common/os/file.h"
#include "tools/resync/check.h"
#include "tools/resync/hook.h"
#include "tools/resync/post_restore.h"
#include "tools/resync/restore.h"
#include "tools/resync/save.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

/// A directory for one trial; nothing of it stays.
class Trial {
 public:
  explicit Trial(std::string path) : path_(std::move(path)) {}
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  ~Trial() { clear(); }

  Result<> make() {
    clear();
    return os::make_directories(path_, {.mode = 0700});
  }

 private:
  void clear() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string path_;
};

/// The digests that the save's end lists are computed again from what was restored.
Result<> compare(const Restored& restored, const Json& end) {
  for (const auto& one : restored.environments) {
    lmdb::OpenOptions options;
    options.path = one.path;
    options.subdirectory = one.body.subdirectory;
    options.read_only = true;
    HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
    HOTBACKUP_ASSIGN(const auto digest, lmdb::digest(environment));
    Json listed;
    for (const Json& entry : end.value("environments", Json::array()))
      if (entry.value("number", 0U) == one.body.number.value)
        listed = entry.value("databases", Json());
    if (listed != describe(digest))
      return fail(ErrorCode::kCorrupt,
                  "what was restored of environment " + one.body.name + " is not what was saved");
  }
  return {};
}

Result<> try_it(const Found& found, const VerifyWay& way) {
  Trial trial(way.trial);
  HOTBACKUP_TRY(trial.make());
  RestoreWay restore_way;
  restore_way.filter = way.settings.saves.unfilter;
  restore_way.files_root = way.trial + "/files";
  restore_way.place = [&way](const update::EnvironmentBody& body, const Json&) -> Result<Place> {
    return Place{way.trial + "/" + body.name, {}};
  };
  Restore restore(std::move(restore_way));
  HOTBACKUP_ASSIGN(const Restored restored, restore.run({&found, {}, 0}, {}));
  HOTBACKUP_TRY(compare(restored, restored.end));
  if (way.level != config::Verify::kApp) return {};
  std::vector<std::string> places;
  for (const auto& one : restored.environments) places.push_back(one.body.name + "=" + one.path);
  auto environment = hook_environment(&way.group, places);
  environment.push_back("HOTBACKUP_INTO=" + way.trial);
  const auto ran = run_hook(way.settings.drill, "verify", way.settings.name,
                            restored.position.number, environment);
  if (!ran && ran.error().code() == ErrorCode::kCancelled) return ran;
  if (!ran) return fail(ErrorCode::kCorrupt, "the application's check: " + ran.error().text());
  return {};
}

}  // namespace

Result<std::string> verify_saved(const std::string& path, const VerifyWay& way) {
  const std::string& unfilter = way.settings.saves.unfilter;
  const Found found = look_at(path);
  const bool opaque = found.filtered && unfilter.empty();
  if (found.volume || opaque || way.level == config::Verify::kRead) {
    HOTBACKUP_ASSIGN(const Checked checked, check_file(path, unfilter));
    if (checked.damage.empty()) return checked.how;
    return fail(ErrorCode::kCorrupt, "damaged at byte " +
                                         std::to_string(checked.damage.front().offset) + ": " +
                                         checked.damage.front().text);
  }
  if (found.head.empty()) return fail(ErrorCode::kCorrupt, found.problem);
  auto tried = try_it(found, way);
  // Behind a filter damage looks like a filter that fails.
  if (!tried && tried.error().code() == ErrorCode::kIo && found.filtered) {
    HOTBACKUP_ASSIGN(const Checked checked, check_file(path, ""));
    if (!checked.damage.empty())
      return fail(ErrorCode::kCorrupt,
                  "damaged at byte " + std::to_string(checked.damage.front().offset));
  }
  if (!tried) return fail(std::move(tried).error());
  return way.level == config::Verify::kApp ? "app" : "restore";
}

}  // namespace hotbackup::resync
