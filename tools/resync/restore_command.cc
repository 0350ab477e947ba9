// SPDX-License-Identifier: Apache-2.0
// hotbackup restore: from files alone.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "common/control/test_environment.h"
#include "common/os/process.h"
#include "tools/hotbackup/command_log.h"
#include "tools/resync/command.h"
#include "tools/resync/post_restore.h"
#include "tools/resync/restore.h"
#include "tools/resync/restored_place.h"
#include "tools/resync/slave_restore.h"

namespace hotbackup::resync {
namespace {

struct RestoreOptions {
  std::vector<std::string> from;
  std::string group;
  std::string as;
  std::string into;
  bool replace = false;
  std::string until = "end";
  std::string owner_map;
  std::string filter;
  bool dry_run = false;
  bool hook = false;
};

/// Lines "there here" or "there=here"; '#' begins a comment.
Result<std::vector<std::pair<std::string, std::string>>> read_owner_map(const std::string& path) {
  std::vector<std::pair<std::string, std::string>> owners;
  if (path.empty()) return owners;
  std::ifstream file(path);
  if (!file) return fail_errno("opening " + path);
  std::string line;
  while (std::getline(file, line)) {
    line = line.substr(0, line.find('#'));
    for (char& c : line)
      if (c == '=' || c == '\t') c = ' ';
    std::istringstream words(line);
    std::string there;
    std::string here;
    std::string more;
    if (!(words >> there)) continue;
    if (!(words >> here) || words >> more)
      return fail(ErrorCode::kConfig, path + ": '" + line + "' is not two names");
    owners.emplace_back(there, here);
  }
  return owners;
}

/// This node's idea of the group, where it has one: neither is needed.
struct Here {
  std::optional<config::Configuration> configuration;
  const config::Group* settings = nullptr;
  std::unique_ptr<control::Group> group;
};

Result<Here> look_here(const Session& session, const std::string& name) {
  Here here;
  const std::string path =
      session.config_path.empty() ? config::default_path() : session.config_path;
  std::error_code error;
  if (session.config_path.empty() && !std::filesystem::exists(path, error)) return here;
  HOTBACKUP_ASSIGN(here.configuration, config::load(path));
  if (auto found = config::find_group(*here.configuration, name)) here.settings = *found;
  if (here.settings == nullptr) return here;
  auto group = cli::open_group(*here.configuration, *here.settings);
  if (group)
    here.group = std::move(*group);
  else if (group.error().code() != ErrorCode::kFenced)
    return fail(std::move(group).error());
  return here;
}

Result<Place> place_in(const std::string& directory, const update::EnvironmentBody& body) {
  return Place{directory + "/" + body.name, {}};
}

/// As configured here, else where the save says that it was.
Result<Place> place_here(const Here& here, const Json& head, const update::EnvironmentBody& body) {
  Place place;
  if (here.settings != nullptr) {
    for (const config::Environment& environment : here.settings->environments) {
      if (environment.name != body.configured || environment.path.empty()) continue;
      place.path = environment.path;
      if (const std::size_t star = place.path.rfind('*'); star != std::string::npos)
        place.path.replace(star, 1, body.match);
      place.rules = environment.keep_local;
    }
  }
  if (!place.path.empty()) return place;
  for (const Json& one : head.value("environments", Json::array()))
    if (one.value("number", 0U) == body.number.value) place.path = one.value("path", "");
  if (!place.path.starts_with('/'))
    return fail(ErrorCode::kConfig, "the place of environment " + body.name +
                                        " is not known here: restore it with --into DIR");
  return place;
}

Json to_json(const Restored& restored, const std::string& name, const std::string& save,
             const std::vector<std::string>& notes) {
  Json environments = Json::array();
  for (const auto& one : restored.environments) {
    Json entry{{"name", one.body.name}, {"path", one.path}};
    if (!one.aside.empty()) entry["replaced"] = one.aside;
    if (!one.programs.empty()) entry["programs"] = one.programs;
    environments.push_back(std::move(entry));
  }
  Json json{{"group", name},
            {"group_id", restored.head.value("group_id", "")},
            {"number", restored.position.number.value},
            {"save", save},
            {"save_number", restored.head.value("number", std::uint64_t{0})},
            {"replayed", restored.updates},
            {"items", restored.items},
            {"files", restored.files},
            {"environments", std::move(environments)},
            {"notes", notes}};
  if (!restored.content_hash.empty()) json["content_hash"] = restored.content_hash;
  return json;
}

void print(const Restored& restored, const std::string& name, const std::string& save) {
  std::printf("%s  restored at update %s: %s items from %s", name.c_str(),
              human_count(restored.position.number.value).c_str(),
              human_count(restored.items).c_str(), save.c_str());
  if (restored.updates != 0)
    std::printf(", %s updates replayed", human_count(restored.updates).c_str());
  if (restored.files != 0) std::printf(", %zu files", restored.files);
  std::printf("\n");
  for (const auto& one : restored.environments) {
    std::printf("  %s  %s", one.body.name.c_str(), one.path.c_str());
    if (!one.aside.empty()) std::printf("  (what was there: %s)", one.aside.c_str());
    std::printf("\n");
    for (const pid_t pid : one.programs)
      std::printf(
          "    open in process %d (%s): it sees the restored items from now on; restart it "
          "if it keeps data in memory\n",
          static_cast<int>(pid), os::process_name(pid).c_str());
  }
}

class Command {
 public:
  Command(const Session& session, const RestoreOptions& options)
      : session_(session), options_(options) {}

  Result<int> run() {
    HOTBACKUP_ASSIGN(target_, parse_target(options_.until));
    HOTBACKUP_ASSIGN(owners_, read_owner_map(options_.owner_map));
    HOTBACKUP_ASSIGN(const Choice choice, choose());
    name_ = options_.as.empty() ? choice.chains.front().save->group() : options_.as;
    if (options_.into.empty()) HOTBACKUP_TRY(look_at_this_node());
    if (options_.dry_run) return print_plan(choice);
    notes_ = choice.notes;
    return restore(choice);
  }

 private:
  Result<Choice> choose();
  Result<> require_filter(const Chain& chain) const;
  Result<> look_at_this_node();
  Result<int> print_plan(const Choice& choice);
  bool on_slave() const { return here_.group && here_.group->role() == control::Role::kSlave; }
  Result<int> restore(const Choice& choice);
  Result<Restored> try_one(const Chain& chain, const Target& target);
  Result<int> after(const Chain& chain, const Restored& restored);

  const Session& session_;
  const RestoreOptions& options_;
  Target target_;
  std::vector<std::pair<std::string, std::string>> owners_;
  std::vector<Found> found_;
  std::string name_;
  Here here_;
  std::vector<std::string> notes_;
};

/// What nobody can read is no damage.
Result<> Command::require_filter(const Chain& chain) const {
  const Found* filtered = chain.save->filtered ? chain.save : nullptr;
  for (const Found* volume : chain.volumes)
    if (volume->filtered) filtered = volume;
  if (filtered == nullptr || !options_.filter.empty() || options_.dry_run) return {};
  return fail(ErrorCode::kConfig, filtered->path +
                                      " went through a filter: --filter names the command that "
                                      "brings it back, such as 'age -d -i FILE'");
}

/// From a pipe there is nothing to choose, and nothing to see before it is read.
Result<Choice> Command::choose() {
  const std::string& only = options_.from.front();
  const bool opaque =
      only == "-" || (!options_.filter.empty() && !std::filesystem::is_directory(only) &&
                      !look_at(only).problem.empty());
  if (opaque && options_.from.size() == 1) {
    found_.resize(1);
    found_[0].path = only;
    found_[0].filtered = true;  // where a filter is named
    found_[0].head = Json{{"group", options_.group}};
    Choice choice;
    choice.target = target_;
    choice.chains.push_back({&found_[0], {}, 0});
    if (target_.kind != Target::Kind::kEnd)
      return fail(ErrorCode::kConfig, "--until needs saves and volumes in files");
    return choice;
  }
  HOTBACKUP_ASSIGN(found_, find_files(options_.from, Segments::kTake));
  HOTBACKUP_ASSIGN(const auto id, choose_group(found_, options_.group));
  HOTBACKUP_ASSIGN(auto choice, choose_chains(found_, id, target_));
  HOTBACKUP_TRY(require_filter(choice.chains.front()));
  return choice;
}

Result<> Command::look_at_this_node() {
  HOTBACKUP_ASSIGN(here_, look_here(session_, name_));
  if (!here_.group) return {};
  if (here_.group->role() == control::Role::kFenced)
    return fail(ErrorCode::kFenced, "group " + name_ +
                                        " is fenced here: its way back is the rejoin; restore "
                                        "with --into DIR");
  return {};
}

Result<int> Command::print_plan(const Choice& choice) {
  const Chain& chain = choice.chains.front();
  std::uint64_t bytes = chain.save->bytes;
  for (const Found* volume : chain.volumes) bytes += volume->bytes;
  const std::string id = chain.save->group_id();
  if (session_.json) {
    Json volumes = Json::array();
    for (const Found* volume : chain.volumes) volumes.push_back(volume->path);
    std::printf("%s\n", Json{{"group", name_},
                             {"dry_run", true},
                             {"save", chain.save->path},
                             {"volumes", std::move(volumes)},
                             {"bytes", bytes},
                             {"notes", choice.notes},
                             {"range", describe_range(found_, id)}}
                            .dump()
                            .c_str());
    return cli::kDone;
  }
  std::printf("would restore %s from %s and %zu volumes, %s; what can be restored: %s\n",
              name_.c_str(), chain.save->path.c_str(), chain.volumes.size(),
              human_bytes(bytes).c_str(), describe_range(found_, id).c_str());
  for (const std::string& note : choice.notes) std::printf("  %s\n", note.c_str());
  return cli::kDone;
}

Result<Restored> Command::try_one(const Chain& chain, const Target& target) {
  RestoreWay way;
  way.replace = options_.replace;
  way.owners = owners_;
  way.filter = options_.filter;
  for (const char c : iso8601(wall_now()).substr(0, 19))
    if (c != '-' && c != ':') way.aside += c;
  if (!options_.into.empty()) {
    const std::string directory =
        std::filesystem::absolute(options_.into).lexically_normal().string() +
        (options_.as.empty() ? "" : "/" + options_.as);
    way.files_root = directory + "/files";
    way.place = [directory](const auto& body, const Json&) { return place_in(directory, body); };
  } else {
    way.place = [this](const auto& body, const Json& head) {
      return place_here(here_, head, body);
    };
  }
  Restore restore(std::move(way));
  return restore.run(chain, target);
}

/// The best chain; where a file of it proves damaged, the next best.
Result<int> Command::restore(const Choice& choice) {
  std::optional<Error> first;
  std::optional<PostRestore> hook;
  if (options_.into.empty() && here_.settings != nullptr) {
    hook.emplace(*here_.settings, here_.group.get());
    HOTBACKUP_TRY(hook->expect());
  }
  for (const Chain& chain : choice.chains) {
    auto restored = on_slave() ? restore_on_slave(*here_.group, chain, choice.target,
                                                  options_.filter, options_.replace)
                               : try_one(chain, choice.target);
    if (restored) {
      if (hook) hook->restored();
      HOTBACKUP_ASSIGN(const int code, after(chain, *restored));
      if (!hook) return code;
      std::vector<std::string> places;
      for (const auto& one : restored->environments)
        places.push_back(one.body.name + "=" + one.path);
      if (const auto ran = hook->run(restored->position.number, places); !ran) {
        std::fprintf(stderr, "hotbackup-resync: HB-post-restore: %s\n", ran.error().text().c_str());
        return cli::kNeedsYou;
      }
      return code;
    }
    if (restored.error().code() != ErrorCode::kCorrupt &&
        restored.error().code() != ErrorCode::kVersion)
      return fail(std::move(restored).error());
    notes_.push_back("not used: " + restored.error().text());
    if (!first) first = restored.error();
  }
  return fail(std::move(*first).with_context("no valid save is left"));
}

Result<int> Command::after(const Chain& chain, const Restored& restored) {
  if (options_.into.empty()) {
    if (on_slave()) {
      (void)cli::log_command(session_, here_.group->directory());
    } else if (here_.group) {
      (void)cli::log_command(session_, here_.group->directory());
      for (const auto& one : restored.environments)
        if (auto* entry = here_.group->environment_at(one.path))
          HOTBACKUP_TRY(here_.group->set_unlogged(
              *entry, "restored at update " + std::to_string(restored.position.number.value) +
                          " from " + chain.save->path + ": slaves need a new seed"));
    }
  } else {
    HOTBACKUP_TRY(write_restored_place(
        std::filesystem::path(restored.environments.empty() ? options_.into
                                                            : restored.environments.front().path)
            .parent_path(),
        restored));
  }
  const std::string group = restored.head.value("group", name_);
  const std::string name = options_.as.empty() ? group : options_.as;
  if (session_.json)
    std::printf("%s\n", to_json(restored, name, chain.save->path, notes_).dump().c_str());
  else
    print(restored, name, chain.save->path);
  for (const std::string& note : notes_) std::fprintf(stderr, "warning: %s\n", note.c_str());
  return notes_.empty() ? cli::kDone : cli::kNeedsYou;
}

/// --hook: once more, after it has failed.
Result<int> run_hook_again(const Session& session, const RestoreOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, cli::open_group(session, options.group));
  HOTBACKUP_TRY(cli::log_command(session, opened->group->directory()));
  std::vector<std::string> places;
  for (std::uint32_t n = 1; n <= opened->group->environment_count(); ++n)
    if (const auto* entry = opened->group->environment(EnvironmentNumber(n));
        entry != nullptr && !control::is_test_environment(entry->name))
      places.push_back(std::string(entry->name) + "=" + entry->path);
  PostRestore hook(*opened->settings, opened->group.get());
  HOTBACKUP_TRY(hook.run(opened->group->made(), places));
  const bool any = !opened->settings->post_restore.empty();
  if (session.json)
    std::printf("%s\n", Json{{"group", opened->settings->name}, {"hook", any}}.dump().c_str());
  else
    std::printf("%s  %s\n", opened->settings->name.c_str(),
                any ? "post_restore has succeeded" : "there is no post_restore: nothing is due");
  return cli::kDone;
}

Result<int> restore(const Session& session, const RestoreOptions& options) {
  if (options.hook) return run_hook_again(session, options);
  if (options.from.empty()) return fail(ErrorCode::kConfig, "--from is required");
  if (!options.as.empty() && options.into.empty())
    return fail(ErrorCode::kConfig, "--as NAME needs --into DIR");
  Command command(session, options);
  return command.run();
}

}  // namespace

void add_restore(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "restore", "Restores a group from saves and volumes; needs nothing but the files");
  auto options = std::make_shared<RestoreOptions>();
  command->add_option("--from", options->from, "directory of saves and volumes, file, or -")
      ->type_name("DIR|FILE|-");
  command->add_option("--group", options->group, "where there are several: its name or id");
  command
      ->add_option("--into", options->into,
                   "puts the environments below this directory instead of their own places")
      ->type_name("DIR");
  command->add_option("--as", options->as, "with --into: under another name, DIR/NAME")
      ->type_name("NAME");
  command->add_flag("--replace", options->replace,
                    "also where there is data, which stays as PATH.replaced-TIME");
  command->add_option("--until", options->until,
                      "update number, time with its zone, mark:NAME, or end (the default)");
  command->add_option("--owner-map", options->owner_map, "lines of two users: there, here")
      ->type_name("FILE");
  command
      ->add_option("--filter", options->filter,
                   "shell command the files come through: age -d, gpg -d")
      ->type_name("COMMAND");
  command->add_flag("--dry-run", options->dry_run, "says what would be restored from what");
  command
      ->add_flag("--hook", options->hook,
                 "restores nothing: runs the group's post_restore again, after it has failed")
      ->excludes("--from");
  command->callback([&session, options] {
    session.action = [&session, options] { return restore(session, *options); };
  });
}

}  // namespace hotbackup::resync
