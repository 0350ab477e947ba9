// SPDX-License-Identifier: Apache-2.0
#include "slave/seeder.h"

#include <unistd.h>

#include <algorithm>

#include "common/lmdb/resident_limit.h"
#include "slave/applied_file.h"

namespace hotbackup::slave {

Seeder::Seeder(control::Group& group, Copies& copies) : group_(group), copies_(copies) {}
Seeder::~Seeder() = default;

/// Where this environment goes, checked to be free.
Result<std::string> Seeder::place_for(const update::EnvironmentBody& environment,
                                      const std::vector<std::string>& ours) const {
  if (const auto* entry = group_.environment(environment.number);
      entry != nullptr && environment.name != entry->name)
    return fail(ErrorCode::kRefused, "environment " + environment.name +
                                         " of the master has the number of " + entry->name);
  HOTBACKUP_ASSIGN(const auto path, copies_.local_path(environment));
  HOTBACKUP_TRY(copies_.make_directory(path, environment.subdirectory));
  if (std::find(ours.begin(), ours.end(), path) != ours.end()) return path;
  HOTBACKUP_ASSIGN(const auto rules, group_.keep_local(environment.configured));
  const auto holds = lmdb::has_items(path, environment.subdirectory, rules);
  if (!holds)
    return fail(ErrorCode::kRefused,
                path + " is in the place of a copy and cannot be read: " + holds.error().text(),
                holds.error().os_error());
  if (*holds)
    return fail(ErrorCode::kRefused, path + " holds items: a seed does not overwrite them");
  return path;
}

// Known to be a prefix are the updates; what somebody else wrote to a copy is not among them.
Result<> Seeder::add_copies(std::vector<std::string>& ours) const {
  for (const control::Incident& incident : group_.incidents().open())
    if (incident.code == "HB-copy-written" || incident.code == "HB-copy-replaced")
      return fail(ErrorCode::kRefused,
                  incident.text + ": a seed does not overwrite that. Next: " + "hotbackup init " +
                      group_.layout().group_name + " --role slave --replace");
  for (std::uint32_t n = 1; n <= group_.environment_count(); ++n)
    if (const auto* entry = group_.environment(EnvironmentNumber(n))) ours.push_back(entry->path);
  return {};
}

Result<> Seeder::begin(const Position& at, const std::vector<update::EnvironmentBody>& environments,
                       bool over_copies) {
  at_ = at;
  copies_.close_all();
  targets_.clear();
  items_ = bytes_ = 0;
  HOTBACKUP_ASSIGN(const auto unfinished, read_seeding(group_));
  std::vector<std::string> ours = unfinished.value_or(std::vector<std::string>{});
  if (over_copies) HOTBACKUP_TRY(add_copies(ours));
  std::vector<std::string> paths;
  for (const auto& environment : environments) {
    HOTBACKUP_ASSIGN(const auto path, place_for(environment, ours));
    if (std::find(paths.begin(), paths.end(), path) != paths.end())
      return fail(ErrorCode::kConfig, "two environments would share " + path);
    paths.push_back(path);
  }
  for (std::size_t i = 0; i < environments.size(); ++i) {
    HOTBACKUP_ASSIGN(auto rules, group_.keep_local(environments[i].configured));
    HOTBACKUP_ASSIGN(auto target,
                     SeedTarget::make(copies_, environments[i], paths[i], std::move(rules)));
    targets_[environments[i].number] = std::move(target);
  }
  if (targets_.size() != environments.size())
    return fail(ErrorCode::kProtocol, "two environments of the seed have one number");
  return {};
}

Result<> Seeder::part(EnvironmentNumber environment, std::string_view body) {
  const auto target = targets_.find(environment);
  if (target == targets_.end())
    return fail(ErrorCode::kProtocol, "a part of an environment that the seed did not announce");
  auto items = target->second->write(body);
  if (!items)
    return fail(std::move(items).error().with_context("seeding " + target->second->path()));
  items_ += *items;
  bytes_ += body.size();
  lmdb::trim_resident();
  return {};
}

Result<> Seeder::end(std::uint64_t items) {
  if (items != items_)
    return fail(ErrorCode::kProtocol, "the seed has " + std::to_string(items_) +
                                          " items, the master sent " + std::to_string(items));
  std::vector<std::string> paths;
  for (const auto& [number, target] : targets_) {
    HOTBACKUP_TRY(target->complete());
    paths.push_back(target->path());
  }
  // From here to remove_seeding the copies are neither the old nor the new.
  HOTBACKUP_TRY(write_seeding(group_, paths));
  for (const auto& [number, target] : targets_) HOTBACKUP_TRY(target->install(copies_));
  HOTBACKUP_TRY(take_over());
  targets_.clear();
  return {};
}

Result<> Seeder::take_over() {
  for (const auto& [number, target] : targets_) {
    HOTBACKUP_TRY(copies_.link_and_register(target->environment(), target->path()));
    group_.environment(number)->last_txnid.store(0);
    group_.environment(number)->baselined.store(0);
    group_.environment(number)->applying_txnid.store(0);
    group_.environment(number)->file_identity.store(0);
  }
  {
    HOTBACKUP_ASSIGN(auto lock, group_.journal().lock());
    HOTBACKUP_TRY(group_.journal().restart_after(lock, at_));
  }
  group_.set_epoch(at_.epoch);
  HOTBACKUP_TRY(write_applied(group_, {at_.number, at_.number}));
  HOTBACKUP_TRY(remove_seeding(group_));
  group_.layout().applied.store(at_.number.value);
  group_.notify_acknowledged();
  return {};
}

// The marker stays: it tells the next seed which targets may be overwritten.
Result<> Seeder::discard_unfinished(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto unfinished, read_seeding(group));
  if (!unfinished || group.id().is_none()) return {};
  const std::string applied = group.directory() + "/applied";
  if (::unlink(applied.c_str()) != 0 && errno != ENOENT) return fail_errno("removing " + applied);
  group.layout().applied.store(0);
  HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
  return group.journal().restart_after(
      lock, {{}, UpdateNumber(0), journal::chain_before_all(group.id())});
}

}  // namespace hotbackup::slave
