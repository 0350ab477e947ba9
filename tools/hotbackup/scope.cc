// SPDX-License-Identifier: Apache-2.0
// hotbackup scope: every database of every environment, and whether it is sent.
#include <sys/stat.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/lmdb/environment.h"
#include "tools/hotbackup/command.h"
#include "tools/hotbackup/disk.h"

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
  std::vector<lmdb::DatabaseInfo> databases;
};

Result<Scope> read_scope(const control::EnvironmentEntry& entry) {
  Scope scope{entry.name, entry.path, true, {}};
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
  return scope;
}

ordered_json to_json(const Scope& scope) {
  ordered_json databases = ordered_json::array();
  for (const lmdb::DatabaseInfo& database : scope.databases)
    databases.push_back({{"database", database.main ? "" : printable(database.name)},
                         {"main", database.main},
                         {"flags", flag_names(database.flags)},
                         {"items", database.items},
                         {"scope", "sent"}});
  return {{"name", scope.environment},
          {"path", scope.path},
          {"exists", scope.exists},
          {"databases", std::move(databases)}};
}

void print(const Scope& scope) {
  if (!scope.exists)
    std::printf("%-12s %s does not exist\n", scope.environment.c_str(), scope.path.c_str());
  for (const lmdb::DatabaseInfo& database : scope.databases)
    std::printf("%-12s %-24s sent  %s items%s%s\n", scope.environment.c_str(),
                database.main ? "(main)" : printable(database.name).c_str(),
                human_count(database.items).c_str(), database.flags != 0 ? "  " : "",
                flag_names(database.flags).c_str());
}

Result<int> show_scope(const Session& session, const std::string& group_name) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, group_name));
  control::Group& group = *opened->group;
  ordered_json out{{"group", opened->settings->name}, {"environments", ordered_json::array()}};
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
    const control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
    if (entry == nullptr) continue;
    auto scope = read_scope(*entry);
    if (!scope)
      return fail(std::move(scope).error().with_context("environment " + std::string(entry->name)));
    if (session.json)
      out["environments"].push_back(to_json(*scope));
    else
      print(*scope);
  }
  if (session.json) std::printf("%s\n", out.dump(2).c_str());
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
