// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/init_plan.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "common/base/clock.h"
#include "common/control/test_environment.h"
#include "common/os/ownership.h"
#include "master/loss_limit.h"
#include "tools/hotbackup/capture_link.h"
#include "tools/hotbackup/kept_counts.h"

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

/// Takes over an existing group, or notes that it is new. Only peers and environments may change.
Result<> plan_record(const config::Configuration& configuration, const config::Group& settings,
                     control::Role role, bool replace, InitPlan& plan) {
  control::GroupRecord& record = plan.record;
  auto existing = control::read_group_file(plan.directory);
  if (!existing && existing.error().code() != ErrorCode::kNotFound)
    return fail(std::move(existing).error());
  if (existing) {
    HOTBACKUP_ASSIGN(const auto group, control::Group::open(plan.directory));
    const control::Role present = group->role();
    if (present == control::Role::kNone) {
      plan.keep_aside_as = "unlinked";
    } else if (present != role) {
      const std::string name(role_name(present));
      return fail(ErrorCode::kFenced, "group " + settings.name + " is " + name +
                                          " here: type hotbackup init " + settings.name +
                                          " --role " + name + ", or hotbackup unlink " +
                                          settings.name + " first");
    } else if (replace) {
      plan.keep_aside_as = "replaced";
    } else {
      plan.again = true;
      record = std::move(*existing);
    }
  }
  record.name = settings.name;
  record.node_name = configuration.node.name;
  record.role = role;
  record.peers = settings.peers;
  record.limit = master::loss_limit_of(settings);
  HOTBACKUP_ASSIGN(const auto owner, config::resolve_owner(settings));
  record.permissions = {};
  if (owner) record.permissions = {owner->uid, owner->gid, 0};
  record.permissions.mode = settings.mode;
  if (plan.again) {
    if (record.segment_bytes != settings.segment_bytes)
      plan.notes.push_back("segment_size of an existing group stays " +
                           human_bytes(record.segment_bytes));
    return {};
  }
  record.segment_bytes = settings.segment_bytes;
  if (role == control::Role::kMaster)
    record.master_name = configuration.node.name;
  else if (settings.peers.size() == 1)
    record.master_name = settings.peers.front();
  return {};
}

/// Rules may be added at any time. One that goes would leave items that no slave has as they are on
/// the master, and nobody would know.
Result<> plan_rules(const config::Group& settings, InitPlan& plan) {
  std::vector<update::EnvironmentRules> wanted;
  for (const config::Environment& environment : settings.environments)
    if (!environment.keep_local.empty())
      wanted.push_back({environment.name, environment.keep_local});
  std::sort(wanted.begin(), wanted.end(),
            [](const auto& a, const auto& b) { return a.environment < b.environment; });
  for (const update::EnvironmentRules& kept : plan.record.keep_local) {
    const auto same = std::find_if(wanted.begin(), wanted.end(), [&](const auto& rules) {
      return rules.environment == kept.environment;
    });
    const bool still_there = same != wanted.end();
    const auto* gone =
        (still_there ? same->rules : update::KeepLocalRules()).first_not_covered(kept.rules);
    if (gone != nullptr)
      return fail(ErrorCode::kRefused,
                  "keep_local of environment " + kept.environment + " was \"" + gone->text() +
                      "\" until now, and what it kept differs from node to node: put the rule "
                      "back, or begin anew on every node with hotbackup unlink " +
                      settings.name + " and hotbackup init");
  }
  plan.rules_change = plan.record.keep_local != wanted;
  if (plan.again && plan.rules_change)
    plan.notes.push_back(
        "keep_local has changed: it counts for transactions that begin from now "
        "on, and the link rests until both nodes have the same rules");
  plan.record.keep_local = std::move(wanted);
  return {};
}

Result<> plan_patterns(InitPlan& plan) {
  std::vector<control::PatternRecord>& patterns = plan.record.patterns;
  for (const ConfiguredPlace& place : plan.places) {
    const auto same_name = std::find_if(patterns.begin(), patterns.end(), [&](const auto& pattern) {
      return pattern.name == place.name;
    });
    if (same_name != patterns.end() && same_name->path != place.pattern)
      return fail(ErrorCode::kRefused, "environment " + place.name + " of this group lies at " +
                                           same_name->path + ", not " + place.pattern +
                                           ": give the new path a new name");
    const auto same_path = std::find_if(patterns.begin(), patterns.end(), [&](const auto& pattern) {
      return pattern.path == place.pattern && pattern.name != place.name;
    });
    if (same_path != patterns.end())
      return fail(ErrorCode::kConfig, "environments " + place.name + " and " + same_path->name +
                                          " are the same path, " + place.pattern);
    if (same_name == patterns.end()) patterns.push_back({place.name, place.pattern});
    if (place.pattern.size() >= sizeof control::PatternEntry{}.path)
      return fail(ErrorCode::kConfig, "the path of environment " + place.name + " is too long");
  }
  if (patterns.size() > control::kPatternsMax)
    return fail(ErrorCode::kConfig, "a group has at most " + std::to_string(control::kPatternsMax) +
                                        " [[group.env]]: use patterns");
  for (const control::PatternRecord& pattern : patterns)
    if (!control::is_test_environment(pattern.name) &&
        std::none_of(plan.places.begin(), plan.places.end(),
                     [&](const ConfiguredPlace& place) { return place.name == pattern.name; }))
      plan.notes.push_back("environment " + pattern.name +
                           " is not in the configuration any more; it stays in the group");
  return {};
}

Result<> plan_links(InitPlan& plan) {
  for (const ConfiguredPlace& place : plan.places) {
    for (const std::string& directory : place.link_directories) {
      if (std::find(plan.links.begin(), plan.links.end(), directory) != plan.links.end()) continue;
      auto found = examine_capture_link(directory, plan.directory);
      if (!found) return fail(std::move(found).error().with_context("environment " + place.name));
      if (*found == CaptureLink::kOurs) continue;
      if (::access(directory.c_str(), W_OK | X_OK) != 0)
        return fail_errno("cannot make the link " + directory + "/" + kCaptureLinkName);
      plan.links.push_back(directory);
    }
  }
  return {};
}

/// A rule that matches nothing in any environment that is there may be a slip of the pen.
Result<> look_for_idle_rules(const config::Group& settings, InitPlan& plan) {
  for (const config::Environment& environment : settings.environments) {
    const auto place = std::find_if(plan.places.begin(), plan.places.end(),
                                    [&](const auto& one) { return one.name == environment.name; });
    if (place == plan.places.end() || environment.keep_local.empty()) continue;
    KeptCounts total;
    bool any_data = false;
    for (const EnvironmentOnDisk& found : place->existing) {
      if (!found.has_data) continue;
      any_data = true;
      HOTBACKUP_ASSIGN(const auto counts,
                       kept_counts(found.path, found.subdirectory, environment.keep_local));
      total.add(counts);
    }
    if (!any_data) continue;
    for (const std::string& text : total.idle(environment.keep_local))
      plan.notes.push_back("keep_local of environment " + environment.name + ": \"" + text +
                           "\" matches nothing so far");
  }
  return {};
}

/// Data already on a slave is only put aside on demand; an environment without items is none.
Result<> plan_replacement(bool replace, InitPlan& plan) {
  for (const ConfiguredPlace& place : plan.places) {
    for (const EnvironmentOnDisk& found : place.existing) {
      const auto& joined = plan.record.environments;
      if (std::any_of(joined.begin(), joined.end(),
                      [&](const auto& record) { return record.path == found.path; }))
        continue;  // our copy of the master's
      HOTBACKUP_ASSIGN(const bool items, has_items(found, rules_of(plan.record, place.name)));
      if (!items) continue;
      if (!replace)
        return fail(ErrorCode::kRefused,
                    "environment " + place.name + " at " + found.path +
                        " holds items that a copy would overwrite: move it away, or add --replace, "
                        "which keeps it aside");
      plan.replaced.push_back(found);
      plan.replaced.back().configured = place.name;
    }
  }
  return {};
}

/// A program that cannot reach the control file has its writes refused: better said now. The state
/// directory and what is in it are made passable.
void check_reachable(InitPlan& plan, const fs::path& state, const std::string& user) {
  if (user.empty()) return;
  for (fs::path part = state; part != part.root_path();) {
    part = part.parent_path();
    if (!os::may_pass(part, plan.record.permissions))
      plan.notes.push_back("user " + user + " cannot pass through " + part.native() +
                           ", and so its writes are refused: type chmod o+x " + part.native());
  }
}

/// Capture takes a group's directory only from the program's own user or the owner of the data: a
/// group of one user beside data of another refuses everybody else, root too.
void check_owners(InitPlan& plan, const std::string& user) {
  const uid_t owner = plan.record.permissions.uid;
  if (user.empty() || plan.record.role != control::Role::kMaster) return;
  std::set<std::string> checked;
  const auto look = [&](const std::string& file) {
    struct stat status {};
    if (!checked.insert(file).second || ::stat(file.c_str(), &status) != 0 ||
        status.st_uid == owner)
      return;
    const passwd* known = ::getpwuid(status.st_uid);
    const std::string whose = known != nullptr ? known->pw_name : std::to_string(status.st_uid);
    plan.notes.push_back(file + " belongs to " + whose + ", and the group to " + user +
                         ": writes of any program that does not run as " + user +
                         " are refused there, root's too: type chown " + user + " " + file);
  };
  for (const ConfiguredPlace& place : plan.places) {
    for (const EnvironmentOnDisk& found : place.existing)
      look(found.has_data ? found.data_file() : found.path);
    // A file that is made later counts by its directory until it is there.
    if (place.existing.empty() || place.pattern.find_first_of("*?[") != std::string::npos)
      for (const std::string& directory : place.link_directories) look(directory);
  }
}

Result<> look_at_places(const config::Group& settings, control::Role role, InitPlan& plan) {
  for (const config::Environment& environment : settings.environments) {
    if (environment.path.empty()) {
      if (role == control::Role::kMaster)
        return fail(ErrorCode::kConfig, "environment " + environment.name +
                                            " has no path, and on a master it needs one");
      continue;
    }
    auto place = look_at(environment);
    if (!place && place.error().code() == ErrorCode::kNotFound && role == control::Role::kSlave) {
      plan.notes.push_back("made with the first seed: " + environment.path);
      plan.places.push_back({environment.name, environment.path, {}, {}, {}});
      continue;
    }
    if (!place) return fail(std::move(place).error());
    plan.notes.insert(plan.notes.end(), place->notes.begin(), place->notes.end());
    for (const EnvironmentOnDisk& found : place->existing) {
      struct stat status {};
      if (::stat(found.data_file().c_str(), &status) == 0)
        plan.data_bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    plan.places.push_back(std::move(*place));
  }
  return {};
}

}  // namespace

update::KeepLocalRules rules_of(const control::GroupRecord& record, const std::string& name) {
  for (const update::EnvironmentRules& kept : record.keep_local)
    if (kept.environment == name) return kept.rules;
  return {};
}

Result<InitPlan> plan_init(const config::Configuration& configuration,
                           const config::Group& settings, const InitOptions& options) {
  const control::Role role =
      options.role == "master" ? control::Role::kMaster : control::Role::kSlave;
  if (role == control::Role::kMaster && options.replace)
    return fail(ErrorCode::kConfig,
                "--replace is for a slave: data on a master becomes the first seed");
  InitPlan plan;
  std::error_code failed;
  const fs::path state = fs::weakly_canonical(configuration.node.state, failed);
  if (failed) return fail_errno("cannot look at " + configuration.node.state, failed.value());
  plan.directory = (state / "groups" / settings.name).native();
  HOTBACKUP_TRY(plan_record(configuration, settings, role, options.replace, plan));
  HOTBACKUP_TRY(plan_rules(settings, plan));
  HOTBACKUP_TRY(look_at_places(settings, role, plan));
  HOTBACKUP_TRY(look_for_idle_rules(settings, plan));
  HOTBACKUP_TRY(plan_patterns(plan));
  HOTBACKUP_TRY(plan_links(plan));
  if (role == control::Role::kSlave) HOTBACKUP_TRY(plan_replacement(options.replace, plan));
  check_reachable(plan, state, settings.user);
  check_owners(plan, settings.user);
  return plan;
}

}  // namespace hotbackup::cli
