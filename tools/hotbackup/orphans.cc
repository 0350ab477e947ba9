// SPDX-License-Identifier: Apache-2.0
// hotbackup orphans: what only this node had when it came back under another master.
// docs/operating/rejoin.md.
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/orphan/orphan_set.h"
#include "common/roles/orphan_apply.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/log_printer.h"
#include "tools/hotbackup/orphans.h"

namespace hotbackup::cli {
namespace {

using Json = nlohmann::ordered_json;

struct OrphanOptions {
  std::string group;
  std::string which;
  bool yes = false;
};

struct Orphan {
  orphan::Set* set = nullptr;
  journal::FrameHeader last;  // its last frame's
  std::string frames;         // where they were asked for

  const orphan::Decision* decision() const {
    const auto found = set->decided.find(last.number);
    return found == set->decided.end() ? nullptr : &found->second;
  }
  std::string state() const {
    return decision() == nullptr ? "open" : decision()->applied ? "applied" : "dropped";
  }
};

struct Range {
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  bool holds(UpdateNumber number) const { return number.value >= from && number.value <= to; }
};

/// "12", "12..40", "all".
Result<Range> parse_range(const std::string& text) {
  if (text == "all") return Range{1, ~std::uint64_t{0}};
  Range range;
  const char* end = text.data() + text.size();
  auto parsed = std::from_chars(text.data(), end, range.from);
  range.to = range.from;
  if (parsed.ec == std::errc{} && parsed.ptr != end &&
      std::string_view(parsed.ptr, end).starts_with(".."))
    parsed = std::from_chars(parsed.ptr + 2, end, range.to);
  if (parsed.ec != std::errc{} || parsed.ptr != end || range.from == 0 || range.to < range.from)
    return fail(ErrorCode::kConfig, "'" + text + "' is none of N, N..M, all");
  return range;
}

/// In the order of the sets and of their numbers; with frames as `visit` wants them.
Result<> for_each_orphan(control::Group& group, std::vector<orphan::Set>& sets, const Range& range,
                         bool with_frames, const std::function<Result<>(Orphan&)>& visit) {
  for (orphan::Set& set : sets) {
    Orphan one;
    one.set = &set;
    HOTBACKUP_TRY(orphan::for_each_frame(
        group.directory(), group.id(), set, [&](const journal::FrameView& frame) -> Result<> {
          if (frame.header.part == 0) one.frames.clear();
          if (!range.holds(frame.header.number)) return {};
          if (with_frames) {
            if (one.frames.size() + frame.bytes.size() > roles::kOrphanBytesMax)
              return fail(ErrorCode::kFenced, "update " +
                                                  std::to_string(frame.header.number.value) +
                                                  " is too large for this command");
            one.frames += frame.bytes;
          }
          if (!frame.header.last_part || !orphan::is_orphan(frame.header)) return {};
          one.last = frame.header;
          return visit(one);
        }));
  }
  return {};
}

std::string environment_name(control::Group& group, EnvironmentNumber number) {
  const auto* entry = group.environment(number);
  return entry == nullptr ? "environment-" + std::to_string(number.value) : entry->name;
}

Json describe(control::Group& group, const Orphan& one) {
  Json json{{"number", one.last.number.value},
            {"epoch", one.last.epoch.counter},
            {"environment", environment_name(group, one.last.environment)},
            {"time", iso8601(one.last.commit_time)},
            {"bytes", one.last.update_bytes},
            {"state", one.state()},
            {"set", one.set->name}};
  json["became"] = nullptr;
  if (const auto* decision = one.decision(); decision && decision->applied)
    json["became"] = decision->became.value;
  return json;
}

Result<int> list(const Session& session, const OrphanOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  control::Group& group = *opened->group;
  HOTBACKUP_ASSIGN(auto sets, orphan::list(group.directory()));
  Json all = Json::array();
  HOTBACKUP_TRY(for_each_orphan(group, sets, {1, ~std::uint64_t{0}}, false, [&](Orphan& one) {
    all.push_back(describe(group, one));
    return Result<>();
  }));
  if (session.json) {
    std::printf("%s\n", Json{{"group", opened->settings->name}, {"orphans", all}}.dump().c_str());
    return kDone;
  }
  for (const Json& one : all)
    std::printf("%s  %s  epoch %s  %s  %s bytes  %s\n", one["number"].dump().c_str(),
                one["time"].get<std::string>().c_str(), one["epoch"].dump().c_str(),
                one["environment"].get<std::string>().c_str(), one["bytes"].dump().c_str(),
                one["state"].get<std::string>().c_str());
  if (all.empty()) std::printf("%s  no orphans\n", opened->settings->name.c_str());
  return kDone;
}

/// What the commands on single orphans begin with.
struct Chosen {
  std::unique_ptr<OpenGroup> opened;
  std::vector<orphan::Set> sets;
  Range range;
};

Result<Chosen> choose(const Session& session, OrphanOptions options) {
  if (options.which.empty()) options.which = std::exchange(options.group, {});
  Chosen chosen;
  HOTBACKUP_ASSIGN(chosen.range, parse_range(options.which));
  HOTBACKUP_ASSIGN(chosen.opened, open_group(session, options.group));
  control::Group& group = *chosen.opened->group;
  HOTBACKUP_ASSIGN(chosen.sets, orphan::list(group.directory()));
  std::uint64_t found = 0;
  HOTBACKUP_TRY(for_each_orphan(group, chosen.sets, chosen.range, false, [&](Orphan&) {
    ++found;
    return Result<>();
  }));
  if (found == 0)
    return fail(ErrorCode::kConfig, "there is no orphan " + options.which + " in group " +
                                        chosen.opened->settings->name + ": see hotbackup orphans " +
                                        chosen.opened->settings->name);
  return chosen;
}

Result<int> show(const Session& session, const OrphanOptions& options) {
  HOTBACKUP_ASSIGN(auto chosen, choose(session, options));
  control::Group& group = *chosen.opened->group;
  LogFilter filter;
  filter.data = true;
  LogPrinter printer(session.json ? LogPrinter::Form::kOneObject : LogPrinter::Form::kText, filter,
                     [&group](EnvironmentNumber number) {
                       return LogPrinter::Names{environment_name(group, number), ""};
                     });
  printer.begin(chosen.opened->settings->name);
  for (const orphan::Set& set : chosen.sets)
    HOTBACKUP_TRY(orphan::for_each_frame(
        group.directory(), group.id(), set, [&](const journal::FrameView& frame) -> Result<> {
          const bool wanted = chosen.range.holds(frame.header.number) &&
                              frame.header.kind == journal::FrameKind::kUpdate &&
                              frame.header.body_bytes != 0;
          return wanted ? printer.frame(frame) : Result<>();
        }));
  printer.end();
  return kDone;
}

/// The sets say what a rejoin has to undo.
Result<> check_settled(const OpenGroup& opened) {
  struct stat status {};
  if (::stat((opened.group->directory() + "/rejoin").c_str(), &status) != 0) return {};
  return fail(ErrorCode::kFenced, "group " + opened.settings->name +
                                      " is rejoining, which needs its orphans: wait until "
                                      "hotbackup status " +
                                      opened.settings->name + " no longer says so");
}

Result<> confirm(const std::string& question, bool yes) {
  if (yes) return {};
  if (::isatty(STDIN_FILENO) == 0)
    return fail(ErrorCode::kConfig, question + ": say --yes to do it without a question");
  std::fprintf(stderr, "%s? [y/N] ", question.c_str());
  std::string line;
  std::getline(std::cin, line);
  if (line == "y" || line == "Y" || line == "yes") return {};
  return fail(ErrorCode::kCancelled, "not done");
}

/// Sets without an open orphan go.
Result<> tidy(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto sets, orphan::list(group.directory()));
  for (const orphan::Set& set : sets)
    if (set.open() == 0) HOTBACKUP_TRY(orphan::remove(group.directory(), set));
  return orphan::note_open(group);
}

Result<int> drop(const Session& session, const OrphanOptions& options) {
  HOTBACKUP_ASSIGN(auto chosen, choose(session, options));
  HOTBACKUP_TRY(check_settled(*chosen.opened));
  control::Group& group = *chosen.opened->group;
  std::vector<Orphan> open;
  HOTBACKUP_TRY(for_each_orphan(group, chosen.sets, chosen.range, false, [&](Orphan& one) {
    if (one.decision() == nullptr) open.push_back(one);
    return Result<>();
  }));
  if (open.empty()) return fail(ErrorCode::kFenced, "nothing of that is open");
  HOTBACKUP_TRY(
      confirm("drop " + std::to_string(open.size()) + " updates for good, which nobody else has",
              options.yes));
  HOTBACKUP_TRY(log_command(session, group.directory()));
  for (Orphan& one : open)
    HOTBACKUP_TRY(orphan::decide(group.directory(), group.permissions(), *one.set, one.last.number,
                                 {false, wall_now(), {}}));
  HOTBACKUP_TRY(tidy(group));
  if (session.json)
    std::printf("%s\n", Json{{"dropped", open.size()}}.dump().c_str());
  else
    std::printf("%s  dropped %zu\n", chosen.opened->settings->name.c_str(), open.size());
  return kDone;
}

void print_conflicts(const Orphan& one, const Json& conflicts) {
  for (const Json& conflict : conflicts) {
    if (conflict["number"].is_null()) {
      std::fprintf(stderr, "%llu: %s\n", static_cast<unsigned long long>(one.last.number.value),
                   conflict["text"].get<std::string>().c_str());
      continue;
    }
    std::fprintf(stderr, "%llu: %s, key %s was changed meanwhile by update %s (%s, %s)\n",
                 static_cast<unsigned long long>(one.last.number.value),
                 conflict["database"].get<std::string>().c_str(),
                 conflict["key"].get<std::string>().c_str(), conflict["number"].dump().c_str(),
                 conflict["operation"].get<std::string>().c_str(),
                 conflict["time"].get<std::string>().c_str());
  }
}

class Apply {
 public:
  /// `tells`: prints a line for each.
  Apply(const roles::Here& here, bool yes, bool tells) : here_(here), yes_(yes), tells_(tells) {}

  Result<> one(Orphan& orphan) {
    if (orphan.decision() != nullptr) return {};
    HOTBACKUP_ASSIGN(Json answer, perform(orphan, yes_));
    const Json conflicts = answer.value("conflicts", Json::array());
    if (!answer.contains("number")) {
      print_conflicts(orphan, conflicts);
      HOTBACKUP_TRY(confirm("apply update " + std::to_string(orphan.last.number.value) +
                                " over what was changed meanwhile",
                            yes_));
      HOTBACKUP_ASSIGN(answer, perform(orphan, true));
    }
    if (!answer.contains("number"))
      return fail(ErrorCode::kProtocol, "the master's answer is none");
    const UpdateNumber became(answer["number"].get<std::uint64_t>());
    HOTBACKUP_TRY(orphan::decide(here_.group.directory(), here_.group.permissions(), *orphan.set,
                                 orphan.last.number, {true, wall_now(), became}));
    applied_.push_back(
        {{"number", orphan.last.number.value}, {"became", became.value}, {"conflicts", conflicts}});
    if (tells_)
      std::printf("%s  %llu is update %llu now\n", here_.settings.name.c_str(),
                  static_cast<unsigned long long>(orphan.last.number.value),
                  static_cast<unsigned long long>(became.value));
    return {};
  }
  const Json& applied() const { return applied_; }

 private:
  Result<Json> perform(const Orphan& orphan, bool overwrite) {
    roles::OrphanRequest request;
    request.after = orphan.set->common.number;
    request.overwrite = overwrite;
    request.frames = orphan.frames;
    for (const auto& [number, decision] : orphan.set->decided)
      if (decision.applied) request.ours.push_back(decision.became.value);
    const std::string bytes = roles::write_request(request);
    control::Group& group = here_.group;
    const bool local = group.role() == control::Role::kMaster;
    const std::string master(group.layout().master_name);
    HOTBACKUP_ASSIGN(const auto text, local ? roles::perform_orphan(group, bytes)
                                            : roles::send_orphan(here_, master, bytes));
    Json answer = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!answer.is_object()) return fail(ErrorCode::kProtocol, "the master's answer is none");
    return answer;
  }

  const roles::Here here_;
  const bool yes_;
  const bool tells_;
  Json applied_ = Json::array();
};

Result<int> apply(const Session& session, const OrphanOptions& options) {
  HOTBACKUP_ASSIGN(auto chosen, choose(session, options));
  HOTBACKUP_TRY(check_settled(*chosen.opened));
  control::Group& group = *chosen.opened->group;
  if (group.role() == control::Role::kFenced)
    return fail(ErrorCode::kFenced, "group " + chosen.opened->settings->name +
                                        " is fenced here and follows no master yet: see hotbackup "
                                        "status " +
                                        chosen.opened->settings->name);
  HOTBACKUP_TRY(log_command(session, group.directory()));
  const roles::Here here{chosen.opened->configuration, *chosen.opened->settings, group,
                         "hotbackup " HOTBACKUP_VERSION};
  Apply work(here, options.yes, !session.json);
  const auto done = for_each_orphan(group, chosen.sets, chosen.range, true,
                                    [&](Orphan& one) { return work.one(one); });
  HOTBACKUP_TRY(tidy(group));
  if (!done) return fail(done.error());
  if (work.applied().empty()) return fail(ErrorCode::kFenced, "nothing of that is open");
  if (session.json) std::printf("%s\n", Json{{"applied", work.applied()}}.dump().c_str());
  return kDone;
}

}  // namespace

Result<> apply_orphans(const roles::Here& here, UpdateNumber from, UpdateNumber to) {
  HOTBACKUP_ASSIGN(auto sets, orphan::list(here.group.directory()));
  if (sets.size() > 1) sets.erase(sets.begin(), sets.end() - 1);
  Apply work(here, /*yes=*/true, /*tells=*/false);
  const auto done = for_each_orphan(here.group, sets, {from.value, to.value}, true,
                                    [&](Orphan& one) { return work.one(one); });
  HOTBACKUP_TRY(tidy(here.group));
  return done;
}

void add_orphans(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "orphans", "What only this node had when it came back under another master");
  command->require_subcommand(0, 1);
  command->fallthrough();
  auto options = std::make_shared<OrphanOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->callback([&session, options, command] {
    if (command->get_subcommands().empty())
      session.action = [&session, options] { return list(session, *options); };
  });
  const auto add = [&](const char* name, const char* help, auto action) {
    auto* sub = command->add_subcommand(name, help);
    auto own = std::make_shared<OrphanOptions>();
    sub->add_option("GROUP", own->group, "may be left out where there is only one");
    sub->add_option("WHICH", own->which, "N, N..M or all");
    if (std::string_view(name) != "show") sub->add_flag("--yes", own->yes, "without a question");
    sub->callback([&session, own, action] {
      session.action = [&session, own, action] { return action(session, *own); };
    });
  };
  add("show", "Their operations, with keys and values", show);
  add("apply", "Makes them new updates of the present master, one by one", apply);
  add("drop", "Gives them up for good", drop);
}

}  // namespace hotbackup::cli
