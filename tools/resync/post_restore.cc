// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/post_restore.h"

#include <algorithm>

#include "common/base/clock.h"
#include "common/control/apply_decisions.h"
#include "common/status/group_status.h"
#include "tools/resync/hook.h"

namespace hotbackup::resync {
namespace {

constexpr char kIncident[] = "HB-post-restore";

}  // namespace

PostRestore::~PostRestore() {
  if (expected_) (void)note(before_);
}

Result<> PostRestore::note(const std::string& why) {
  if (group_ == nullptr) return {};
  HOTBACKUP_TRY(control::change_apply_decisions(
      *group_, [&](control::ApplyDecisions& decisions) { decisions.unprepared = why; }));
  if (why.empty())
    group_->incidents().clear(kIncident);
  else
    group_->incidents().raise(kIncident, "", why);
  return {};
}

Result<> PostRestore::expect() {
  if (group_ == nullptr || settings_.post_restore.empty()) return {};
  HOTBACKUP_ASSIGN(const auto decisions, control::read_apply_decisions(group_->directory()));
  before_ = decisions.unprepared;
  HOTBACKUP_TRY(note("post_restore has not run on what was restored at " + iso8601(wall_now())));
  expected_ = true;
  return {};
}

Result<> PostRestore::run(UpdateNumber number, const std::vector<std::string>& places) {
  if (settings_.post_restore.empty()) return note("");
  const auto ran = run_hook(settings_.post_restore, "post_restore", settings_.name, number,
                            hook_environment(group_, places));
  if (ran) return note("");
  HOTBACKUP_TRY(note(ran.error().text() + " at " + iso8601(wall_now())));
  return fail(ErrorCode::kIo, ran.error().text() +
                                  "; when that is mended: hotbackup restore --group " +
                                  settings_.name + " --hook");
}

std::vector<std::string> hook_environment(control::Group* group,
                                          const std::vector<std::string>& places) {
  std::string lines;
  for (const std::string& place : places) lines += (lines.empty() ? "" : "\n") + place;
  std::vector<std::string> environment{"HOTBACKUP_PLACES=" + lines};
  if (group == nullptr) return environment;
  environment.push_back("HOTBACKUP_ROLE=" + std::string(status::role_name(group->role())));
  environment.push_back("HOTBACKUP_EPOCH=" + std::to_string(group->known_epoch().counter));
  const std::string master(group->layout().master_name);
  if (group->role() != control::Role::kMaster)
    environment.push_back("HOTBACKUP_PEER=" + master);
  else
    environment.push_back("HOTBACKUP_PEER=");
  return environment;
}

}  // namespace hotbackup::resync
