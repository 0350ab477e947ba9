// SPDX-License-Identifier: Apache-2.0
// hotbackup scope: every database of every environment, and whether it is sent.
#include <sys/stat.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/control/test_environment.h"
#include "common/lmdb/environment.h"
#include "tools/hotbackup/command.h"
#include "tools/hotbackup/disk.h"
#include "tools/hotbackup/kept_counts.h"

namespace hotbackup::cli {
namespace {

using nlohmann::ordered_json;

/// "dupsort,integerkey": names as in lmdb.h.
std::string flag_names(unsigned flags) {
  const std::pair<unsigned, const char*> known[] = {
      {MDB_REVERSEKEY, "reversekey"}, {MDB_DUPSORT, "dupsort"},
      {MDB_INTEGERKEY, "integerkey"}, {MDB_DUPFIXED, "dupfixed"},
      {MDB_INTEGERDUP, "integerdup"}, {MDB_REVERSEDUP, "reversedup"}};
  std::string names;
  for (const auto& [flag, name] : known)
    if ((flags & flag) != 0) names += (names.empty() ? "" : ",") + std::string(name);
  return names;
}

struct Scope {
  std::string environment;
  std::string path;
  bool exists = true;
  update::KeepLocalRules rules;
  std::vector<lmdb::DatabaseInfo> databases;
  std::vector<KeptCounts> kept;  // beside databases

  bool whole(std::size_t i) const {
    return rules.keeps_database({databases[i].main, databases[i].name, 0});
  }
};

Result<Scope> read_scope(const control::Group& group, const control::EnvironmentEntry& entry) {
  Scope scope{entry.name, entry.path, true, {}, {}, {}};
  HOTBACKUP_ASSIGN(scope.rules, group.keep_local(entry.configured));
  const bool subdirectory = entry.subdirectory != 0;
  struct stat status {};
  if (::stat(lmdb::data_file(scope.path, subdirectory).c_str(), &status) != 0) {
    if (errno != ENOENT) return fail_errno("cannot look at " + scope.path);
    scope.exists = false;
    return scope;
  }
  const LockFileKeeper keeper(scope.path, subdirectory);
  lmdb::OpenOptions options;
  options.path = scope.path;
  options.subdirectory = subdirectory;
  options.read_only = true;
  HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
  HOTBACKUP_ASSIGN(auto txn, lmdb::Transaction::begin(environment, /*read_only=*/true));
  HOTBACKUP_ASSIGN(scope.databases, lmdb::databases(txn));
  for (const lmdb::DatabaseInfo& database : scope.databases) {
    HOTBACKUP_ASSIGN(auto counts,
                     kept_counts(txn, database, scope.databases.size() > 1, scope.rules));
    scope.kept.push_back(std::move(counts));
  }
  return scope;
}

/// Rules that keep something of this database: text and items.
std::vector<std::pair<std::string, std::uint64_t>> keeping(const Scope& scope, std::size_t i) {
  std::vector<std::pair<std::string, std::uint64_t>> rules;
  for (std::size_t rule = 0; rule < scope.kept[i].met.size(); ++rule)
    if (scope.kept[i].met[rule])
      rules.emplace_back(scope.rules.rules()[rule].text(), scope.kept[i].items[rule]);
  return rules;
}

std::uint64_t kept_items(const Scope& scope, std::size_t i) {
  std::uint64_t items = 0;
  for (const auto& [text, count] : keeping(scope, i)) items += count;
  return items;
}

ordered_json to_json(const Scope& scope) {
  ordered_json databases = ordered_json::array();
  for (std::size_t i = 0; i < scope.databases.size(); ++i) {
    const lmdb::DatabaseInfo& database = scope.databases[i];
    ordered_json rules = ordered_json::array();
    for (const auto& [text, count] : keeping(scope, i))
      rules.push_back({{"rule", text}, {"items", count}});
    databases.push_back({{"database", database.main ? "" : printable(database.name)},
                         {"main", database.main},
                         {"flags", flag_names(database.flags)},
                         {"items", database.items},
                         {"scope", scope.whole(i) ? "keep-local" : "sent"},
                         {"kept_items", kept_items(scope, i)},
                         {"rules", std::move(rules)}});
  }
  return {{"name", scope.environment},
          {"path", scope.path},
          {"exists", scope.exists},
          {"keep_local", scope.rules.texts()},
          {"databases", std::move(databases)}};
}

void print(const Scope& scope) {
  if (!scope.exists)
    std::printf("%-12s %s does not exist\n", scope.environment.c_str(), scope.path.c_str());
  for (std::size_t i = 0; i < scope.databases.size(); ++i) {
    const lmdb::DatabaseInfo& database = scope.databases[i];
    const std::string name = database.main ? "(main)" : printable(database.name);
    const std::string flags = database.flags != 0 ? "  " + flag_names(database.flags) : "";
    if (!scope.whole(i))
      std::printf("%-12s %-24s sent  %s items%s\n", scope.environment.c_str(), name.c_str(),
                  human_count(database.items - kept_items(scope, i)).c_str(), flags.c_str());
    for (const auto& [text, count] : keeping(scope, i))
      std::printf("%-12s %-24s keep-local (%s)  %s items%s\n", scope.environment.c_str(),
                  name.c_str(), text.c_str(), human_count(count).c_str(), flags.c_str());
  }
}

/// Rules that meet nothing in any environment they are for, and those that wait for `init`.
std::vector<std::string> warnings(const config::Group& settings, const control::Group& group,
                                  const std::map<std::string, KeptCounts>& met) {
  std::vector<std::string> texts;
  for (const config::Environment& environment : settings.environments) {
    const auto rules = group.keep_local(environment.name);
    if (!rules) continue;
    if (*rules != environment.keep_local)
      texts.push_back("environment " + environment.name +
                      ": keep_local in the configuration is not what is in force: type hotbackup "
                      "init " +
                      settings.name + " again");
    const auto counts = met.find(environment.name);
    if (counts == met.end()) continue;
    for (const std::string& text : counts->second.idle(*rules))
      texts.push_back("environment " + environment.name + ": keep-local rule \"" + text +
                      "\" matches nothing");
  }
  return texts;
}

Result<int> show_scope(const Session& session, const std::string& group_name) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, group_name));
  control::Group& group = *opened->group;
  ordered_json out{{"group", opened->settings->name}, {"environments", ordered_json::array()}};
  std::map<std::string, KeptCounts> met;  // by name in the configuration
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    const control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr || control::is_test_environment(entry->name)) continue;
    auto scope = read_scope(group, *entry);
    if (!scope)
      return fail(std::move(scope).error().with_context("environment " + std::string(entry->name)));
    for (const KeptCounts& counts : scope->kept) met[entry->configured].add(counts);
    if (session.json)
      out["environments"].push_back(to_json(*scope));
    else
      print(*scope);
  }
  const std::vector<std::string> warned = warnings(*opened->settings, group, met);
  out["warnings"] = warned;
  if (session.json) std::printf("%s\n", out.dump(2).c_str());
  for (const std::string& text : warned)
    if (!session.json) std::fprintf(stderr, "warning: %s\n", text.c_str());
  return kDone;
}

}  // namespace

void add_scope(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("scope", "Every database of a group: whether it is sent, with counts");
  auto group = std::make_shared<std::string>();
  command->add_option("GROUP", *group, "may be left out where there is only one");
  command->callback([&session, group] {
    session.action = [&session, group] { return show_scope(session, *group); };
  });
}

}  // namespace hotbackup::cli
