// SPDX-License-Identifier: Apache-2.0
// hotbackup init: makes the group on this node and turns capture on. The group's directory and
// first update stand before any link leads to it; a run that was cut short is finished by the next.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/identity/identity.h"
#include "common/journal/segment.h"
#include "common/os/ownership.h"
#include "common/os/unique_fd.h"
#include "common/update/codec.h"
#include "master/capture_watch.h"
#include "tools/hotbackup/capture_link.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/init_plan.h"
#include "tools/hotbackup/kept_counts.h"

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

/// Two runs at once would both find nothing and both make the group.
Result<os::UniqueFd> only_one(const config::Configuration& configuration) {
  os::UniqueFd file(::open(configuration.source.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("cannot open " + configuration.source);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::kBusy, "another hotbackup init is at work with " + configuration.source);
  return file;
}

Result<> rename_aside(const std::string& from, const std::string& to) {
  struct stat status {};
  if (::lstat(to.c_str(), &status) == 0)
    return fail(ErrorCode::kRefused, to + " exists already: move it away");
  if (::rename(from.c_str(), to.c_str()) != 0)
    return fail_errno("cannot rename " + from + " to " + to);
  return {};
}

/// "20261121T060001Z": a time that can be part of a file's name.
std::string name_time() {
  std::string out;
  for (const char c : iso8601(wall_now()).substr(0, 19))
    if (c != '-' && c != ':') out += c;
  return out + "Z";
}

/// Keeps the old under another name, with its lock file. A directory is made anew at once, as
/// programs and the link want one.
Result<std::string> put_aside(const EnvironmentOnDisk& environment, const std::string& time) {
  const std::string to = environment.path + ".replaced-" + time;
  struct stat status {};
  if (::stat(environment.path.c_str(), &status) != 0)
    return fail_errno("cannot look at " + environment.path);
  HOTBACKUP_TRY(rename_aside(environment.path, to));
  if (environment.subdirectory) {
    if (::mkdir(environment.path.c_str(), 0700) != 0 ||
        ::chown(environment.path.c_str(), status.st_uid, status.st_gid) != 0 ||
        ::chmod(environment.path.c_str(), status.st_mode & 07777) != 0)
      return fail_errno("cannot make " + environment.path);
    // The link goes with the directory; the old one is out of every group.
    (void)::unlink((to + "/" + kCaptureLinkName).c_str());
  } else if (::rename((environment.path + "-lock").c_str(), (to + "-lock").c_str()) != 0 &&
             errno != ENOENT) {
    return fail_errno("cannot rename " + environment.path + "-lock");
  }
  return to;
}

/// What root makes in a directory of the servers' user belongs to that user.
os::Permissions like(const std::string& directory, mode_t mode) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) return {.mode = mode};
  return {status.st_uid, status.st_gid, mode};
}

Result<> make_group_directory(InitPlan& plan, const std::string& time) {
  if (!plan.keep_aside_as.empty())
    HOTBACKUP_TRY(
        rename_aside(plan.directory, plan.directory + "." + plan.keep_aside_as + "-" + time));
  const fs::path groups = fs::path(plan.directory).parent_path();
  // For owner and group only; programs of the group's user pass through to it.
  const fs::path state = groups.parent_path();
  HOTBACKUP_TRY(os::make_directories(state, {.mode = 0750}));
  HOTBACKUP_TRY(os::make_directories(groups, like(state, 0750)));
  for (const fs::path& passage : {state, groups})
    HOTBACKUP_TRY(os::allow_passage(passage, plan.record.permissions));
  os::Permissions inside = plan.record.permissions;
  inside.mode |= (inside.mode & 0444) >> 2;  // whoever may read may enter
  HOTBACKUP_TRY(os::make_directories(plan.directory, inside));
  for (const char* name : {"/journal", "/orphans", "/setaside"})
    HOTBACKUP_TRY(os::make_directories(plan.directory + name, inside));
  return {};
}

Result<GroupId> random_group_id() {
  GroupId id;
  if (::getrandom(id.bytes.data(), id.bytes.size(), 0) != static_cast<ssize_t>(id.bytes.size()))
    return fail_errno("cannot get random bytes");
  return id;
}

/// Which rules are in force from here on. Before they are: a run that is cut short in between does
/// it again.
Result<> journal_rules(control::Group& group, const control::GroupRecord& record) {
  Result<journal::Appended> appended = fail(ErrorCode::kCancelled, "");
  {
    HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
    journal::FrameHeader fields;
    fields.epoch = group.epoch();
    fields.commit_time = wall_now();
    appended = group.journal().append_control(lock, journal::FrameKind::kRules,
                                              update::write_rules(record.keep_local), fields);
  }
  if (!appended) return fail(std::move(appended).error().with_context("the keep-local rules"));
  return group.journal().sync_through(appended->number);
}

/// The first update of a group: this node is its master in epoch 1.
Result<> begin_journal(control::Group& group, const control::GroupRecord& record) {
  if (group.made().value != 0) return {};
  const Epoch epoch{1, record.node};
  // Written zeros: overwriting them syncs faster than filling blocks that were only reserved.
  HOTBACKUP_TRY(journal::prepare_spare(group.journal_directory(), record.segment_bytes));
  Result<journal::Appended> appended = fail(ErrorCode::kCancelled, "");
  {
    HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
    if (group.made().value != 0) return {};
    journal::FrameHeader fields;
    fields.epoch = epoch;
    fields.commit_time = wall_now();
    appended = group.journal().append_control(
        lock, journal::FrameKind::kEpoch, update::write_epoch({epoch, record.node_name}), fields);
  }
  if (!appended) return fail(std::move(appended).error().with_context("the first update"));
  HOTBACKUP_TRY(group.journal().sync_through(appended->number));
  group.set_epoch(epoch);
  if (!record.keep_local.empty()) HOTBACKUP_TRY(journal_rules(group, record));
  return {};
}

Result<std::unique_ptr<control::Group>> make_group(const config::Configuration& configuration,
                                                   InitPlan& plan) {
  HOTBACKUP_ASSIGN(const identity::Identity own,
                   identity::load_or_create(configuration.node.state));
  if (!plan.again) {
    plan.record.node = own.node_id;
    if (plan.record.role == control::Role::kMaster) {
      HOTBACKUP_ASSIGN(plan.record.id, random_group_id());
    }
    HOTBACKUP_TRY(control::write_group_file(plan.directory, plan.record));
  }
  HOTBACKUP_ASSIGN(auto group, control::Group::open(plan.directory));
  const bool begun = group->made().value != 0;
  if (plan.again && plan.rules_change && begun && plan.record.role == control::Role::kMaster)
    HOTBACKUP_TRY(journal_rules(*group, plan.record));
  if (plan.again) HOTBACKUP_TRY(group->add_configured(plan.record));
  if (plan.record.role == control::Role::kMaster) {
    HOTBACKUP_TRY(begin_journal(*group, plan.record));
    HOTBACKUP_TRY(master::join_existing(*group));
  }
  return group;
}

struct Done {
  std::vector<std::string> replaced;  // new names
  std::vector<master::UncapturedWriter> writers;
};

Result<Done> carry_out(const Session& session, const config::Configuration& configuration,
                       InitPlan& plan) {
  ::umask(022);
  const std::string time = name_time();
  HOTBACKUP_TRY(make_group_directory(plan, time));
  HOTBACKUP_ASSIGN(const auto group, make_group(configuration, plan));
  Done done;
  for (const EnvironmentOnDisk& environment : plan.replaced) {
    HOTBACKUP_ASSIGN(auto to, put_aside(environment, time));
    HOTBACKUP_TRY(carry_over_kept(to, environment.path, environment.subdirectory,
                                  rules_of(plan.record, environment.configured)));
    done.replaced.push_back(std::move(to));
    auto& links = plan.links;
    if (environment.subdirectory &&
        std::find(links.begin(), links.end(), environment.path) == links.end())
      links.push_back(environment.path);
  }
  for (const std::string& directory : plan.links)
    HOTBACKUP_TRY(place_capture_link(directory, plan.directory));
  HOTBACKUP_TRY(log_command(session, plan.directory));
  done.writers = master::uncaptured_writers(*group);
  return done;
}

nlohmann::ordered_json to_json(const InitPlan& plan, const Done& done, bool dry_run) {
  nlohmann::ordered_json out;
  out["group"] = plan.record.name;
  out["role"] = role_name(plan.record.role);
  out["node"] = plan.record.node_name;
  out["group_id"] = plan.record.id.is_none() ? "" : plan.record.id.to_hex();
  out["dry_run"] = dry_run;
  out["environments"] = nlohmann::json::array();
  for (const ConfiguredPlace& place : plan.places) {
    nlohmann::ordered_json one{{"name", place.name}, {"path", place.pattern}};
    one["existing"] = nlohmann::json::array();
    for (const EnvironmentOnDisk& found : place.existing) one["existing"].push_back(found.path);
    out["environments"].push_back(std::move(one));
  }
  out["links"] = plan.links;
  out["replaced"] = done.replaced;
  out["data_bytes"] = plan.data_bytes;
  out["restart"] = nlohmann::json::array();
  for (const master::UncapturedWriter& writer : done.writers)
    out["restart"].push_back(
        {{"pid", writer.pid}, {"command", writer.program}, {"path", writer.file}});
  out["notes"] = plan.notes;
  return out;
}

void print(const InitPlan& plan, const Done& done, bool dry_run) {
  const char* verb = dry_run ? "would be " : "";
  const bool master = plan.record.role == control::Role::kMaster;
  std::printf("%s  %s %s  %s%s\n", plan.record.name.c_str(), master ? "MASTER" : "SLAVE",
              plan.record.node_name.c_str(), verb,
              plan.again ? "brought up to date with the configuration" : "initialised");
  for (const ConfiguredPlace& place : plan.places) {
    std::printf("  environment %s  %s", place.name.c_str(), place.pattern.c_str());
    if (place.existing.size() > 1) std::printf("  (%zu exist)", place.existing.size());
    if (place.existing.empty()) std::printf("  (joins when it appears)");
    std::printf("\n");
  }
  if (master && !plan.again && plan.data_bytes > 0)
    std::printf("  first seed  %s\n", human_bytes(plan.data_bytes).c_str());
  for (const std::string& link : plan.links)
    std::printf("  link  %s/%s%s\n", link.c_str(), kCaptureLinkName,
                dry_run ? "  (would be made)" : "");
  if (dry_run)
    for (const EnvironmentOnDisk& environment : plan.replaced)
      std::printf("  would be kept aside  %s\n", environment.path.c_str());
  for (const std::string& path : done.replaced) std::printf("  kept aside  %s\n", path.c_str());
  for (const std::string& note : plan.notes) std::printf("  note  %s\n", note.c_str());
  for (const master::UncapturedWriter& writer : done.writers)
    std::printf("restart pid %d (%s): it has %s open and writes without capture until then\n",
                static_cast<int>(writer.pid), writer.program.c_str(), writer.file.c_str());
}

Result<int> init(const Session& session, const InitOptions& options) {
  HOTBACKUP_ASSIGN(const config::Configuration configuration, load_configuration(session));
  HOTBACKUP_ASSIGN(const config::Group* settings, config::find_group(configuration, options.group));
  for (const std::string& warning : configuration.warnings)
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  HOTBACKUP_ASSIGN(const os::UniqueFd alone, only_one(configuration));
  HOTBACKUP_ASSIGN(InitPlan plan, plan_init(configuration, *settings, options));
  Done done;
  if (!options.dry_run) {
    HOTBACKUP_ASSIGN(done, carry_out(session, configuration, plan));
  }
  if (session.json)
    std::printf("%s\n", to_json(plan, done, options.dry_run).dump(2).c_str());
  else
    print(plan, done, options.dry_run);
  return kDone;
}

}  // namespace

void add_init(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("init", "Makes a group on this node and puts its links in place");
  auto options = std::make_shared<InitOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("--role", options->role, "what the group is here: master or slave")
      ->type_name("ROLE")
      ->required()
      ->check(CLI::IsMember({"master", "slave"}));
  command->add_flag(
      "--replace", options->replace,
      "on a slave: data that is in the way, and a group that exists, are kept aside as "
      "PATH.replaced-TIME; it begins anew with a seed");
  command->add_flag("--dry-run", options->dry_run, "says what would be done, and changes nothing");
  command->footer("May be run again after environments or peers were added.");
  command->callback([&session, options] {
    session.action = [&session, options] { return init(session, *options); };
  });
}

}  // namespace hotbackup::cli
