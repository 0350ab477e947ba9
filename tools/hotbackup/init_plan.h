// SPDX-License-Identifier: Apache-2.0
// What `init` would do, found out before anything is changed: every refusal comes from here, so
// that a refused init leaves nothing behind and --dry-run says what the real run does.
#pragma once

#include <string>
#include <vector>

#include "common/control/group_file.h"
#include "tools/hotbackup/command.h"
#include "tools/hotbackup/disk.h"

namespace hotbackup::cli {

struct InitOptions {
  std::string group;
  std::string role;
  bool replace = false;
  bool dry_run = false;
};

struct InitPlan {
  std::string directory;        // of the group
  bool again = false;           // the group exists and stays
  bool rules_change = false;    // keep-local rules are not those in force so far
  std::string keep_aside_as;    // "unlinked", "replaced": one that exists, and this begins anew
  control::GroupRecord record;  // as it will be; id and node of a new group come later
  std::vector<ConfiguredPlace> places;
  std::vector<std::string> links;           // directories that get one
  std::vector<EnvironmentOnDisk> replaced;  // renamed aside
  std::vector<std::string> notes;           // one line each, for the person
  std::uint64_t data_bytes = 0;             // on disk, of what becomes the first seed
};

/// The keep-local rules of a configured environment.
update::KeepLocalRules rules_of(const control::GroupRecord& record, const std::string& name);

/// kFenced for another role than the present one, kRefused where data or a link is in the way,
/// kConfig for what the configuration must say differently, or the error of look_at().
Result<InitPlan> plan_init(const config::Configuration& configuration,
                           const config::Group& settings, const InitOptions& options);

}  // namespace hotbackup::cli
