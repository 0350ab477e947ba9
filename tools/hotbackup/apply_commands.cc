// SPDX-License-Identifier: Apache-2.0
// hotbackup pause, resume, apply, retry, skip: the slave's applier. What is decided goes into
// <group>/applying; a server that runs is told through the control file and its answer awaited.
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/bytes.h"
#include "common/control/apply_decisions.h"
#include "common/journal/point.h"
#include "tools/hotbackup/command_line.h"
#include "tools/hotbackup/command_log.h"

namespace hotbackup::cli {
namespace {

using control::ApplyState;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A batch in which a program of the slave keeps the writer lock may take long; the answer to a
// retry then comes later still.
constexpr milliseconds kAnswerLimit{30'000};

struct ApplyOptions {
  std::string group;
  std::optional<std::uint64_t> number;
  std::string reason;
  std::string until;
};

Result<std::unique_ptr<OpenGroup>> open_slave(const Session& session, const std::string& name) {
  HOTBACKUP_ASSIGN(auto opened, open_group(session, name));
  const control::Role role = opened->group->role();
  if (role != control::Role::kSlave)
    return fail(ErrorCode::kFenced, "group " + opened->settings->name + " is " +
                                        std::string(role_name(role)) +
                                        " here: updates are applied on its slave");
  return opened;
}

bool server_alive(control::Group& group) {
  return group.server_alive(control::Group::Server::kSlave);
}

ApplyState state_of(const control::Group& group) {
  return static_cast<ApplyState>(group.layout().apply_state.load());
}

/// Sleeps until `condition`, or the server has gone; false after the limit.
bool wait_for(control::Group& group, const std::function<bool()>& condition) {
  const auto end = steady_clock::now() + kAnswerLimit;
  const std::atomic<std::uint32_t>& word = group.layout().acknowledged_wake;
  while (steady_clock::now() < end) {
    const std::uint32_t ticket = word.load();
    if (condition() || !server_alive(group)) return true;
    os::futex_wait(word, ticket, milliseconds(200));
  }
  return condition();
}

/// True when a server runs and has acted on what was decided, false when none runs.
Result<bool> tell_server(control::Group& group) {
  const std::uint32_t request = control::request_apply(group);
  const bool heard =
      wait_for(group, [&] { return group.layout().apply_answered.load() >= request; });
  if (heard) return server_alive(group);
  return fail(ErrorCode::kTimeout,
              "it is noted, but hotbackup-slave has not acted on it yet: see hotbackup status " +
                  std::string(group.layout().group_name));
}

void report(const Session& session, control::Group& group, bool served, const std::string& state,
            const std::string& text) {
  const std::uint64_t applied = group.layout().applied.load();
  const std::string name = group.layout().group_name;
  if (session.json)
    std::printf("%s\n",
                nlohmann::ordered_json{
                    {"group", name}, {"applying", state}, {"applied", applied}, {"server", served}}
                    .dump()
                    .c_str());
  else
    std::printf("%s  %s\n", name.c_str(), text.c_str());
}

Result<int> pause_or_resume(const Session& session, const ApplyOptions& options, bool pause) {
  HOTBACKUP_ASSIGN(const auto opened, open_slave(session, options.group));
  control::Group& group = *opened->group;
  HOTBACKUP_TRY(log_command(session, group.directory()));
  HOTBACKUP_TRY(control::change_apply_decisions(group, [&](control::ApplyDecisions& decisions) {
    decisions.paused = pause;
    decisions.through = UpdateNumber();
  }));
  HOTBACKUP_ASSIGN(const bool served, tell_server(group));
  const std::string at = human_count(group.layout().applied.load());
  const std::string later = served ? "" : "; hotbackup-slave does not run";
  if (pause)
    report(session, group, served, "paused",
           "applying is paused at update " + at + "; receiving goes on" + later);
  else
    report(session, group, served, "running", "applying goes on from update " + at + later);
  return kDone;
}

/// After retry or skip: until the applier has got past `number`, or has met it again.
Result<int> report_outcome(const Session& session, control::Group& group, bool served,
                           std::optional<UpdateNumber> number) {
  if (!served) {
    report(session, group, served, "waiting for server",
           "applying goes on when hotbackup-slave runs again");
    return kDone;
  }
  const UpdateNumber goal = number.value_or(group.synced());
  const auto past = [&] { return group.layout().applied.load() >= goal.value; };
  (void)wait_for(group, [&] { return past() || state_of(group) != ApplyState::kRunning; });
  if (state_of(group) == ApplyState::kPaused) {
    report(session, group, served, "paused",
           "applying is paused: it is tried after hotbackup resume");
    return kDone;
  }
  if (state_of(group) == ApplyState::kStopped) {
    std::string why = "see hotbackup status";
    for (const control::Incident& incident : group.incidents().open())
      if (incident.code == "HB-copy-replaced") why = incident.text;
    for (const char* code : {"HB-apply-failed", "HB-journal-damaged", "HB-applied-unknown"})
      if (const auto incident = group.incidents().find(code)) why = incident->text;
    return fail(ErrorCode::kIo, "applying has stopped again: " + why);
  }
  report(session, group, served, "running",
         "applying goes on, at update " + human_count(group.layout().applied.load()));
  return kDone;
}

Result<std::optional<UpdateNumber>> set_aside_here(const control::Group& group) {
  HOTBACKUP_ASSIGN(const auto decisions, control::read_apply_decisions(group.directory()));
  return control::waiting_set_aside(group, decisions);
}

Result<int> retry(const Session& session, const ApplyOptions& options) {
  HOTBACKUP_ASSIGN(const auto opened, open_slave(session, options.group));
  control::Group& group = *opened->group;
  HOTBACKUP_ASSIGN(const auto waiting, set_aside_here(group));
  if (!waiting && !(server_alive(group) && state_of(group) == ApplyState::kStopped))
    return fail(ErrorCode::kFenced, "no update of group " + opened->settings->name +
                                        " is set aside, and applying has not stopped");
  HOTBACKUP_TRY(log_command(session, group.directory()));
  HOTBACKUP_ASSIGN(const bool served, tell_server(group));
  return report_outcome(session, group, served, waiting);
}

/// The point as a number that the copies can still be brought to.
Result<UpdateNumber> find_until(control::Group& group, const journal::Point& point) {
  auto found = journal::find_point(group.journal_directory(), group.id(), point, group.synced());
  if (!found && found.error().code() == ErrorCode::kNotFound)
    return fail(ErrorCode::kFenced, std::move(found).error().text());
  if (!found) return found;
  const UpdateNumber applied(group.layout().applied.load());
  if (*found < applied)
    return fail(ErrorCode::kFenced, "the copies show update " + std::to_string(applied.value) +
                                        " already, that is update " + std::to_string(found->value) +
                                        ": they do not go back");
  return *found;
}

// Through there at once, and then no further, so that the mistake behind it is not applied; `end`
// leaves a pause and a delay as they are.
Result<int> apply_until(const Session& session, const ApplyOptions& options) {
  HOTBACKUP_ASSIGN(const auto point, journal::parse_point(options.until));
  HOTBACKUP_ASSIGN(const auto opened, open_slave(session, options.group));
  control::Group& group = *opened->group;
  HOTBACKUP_ASSIGN(const auto number, find_until(group, point));
  HOTBACKUP_TRY(log_command(session, group.directory()));
  HOTBACKUP_TRY(control::change_apply_decisions(group, [&](control::ApplyDecisions& decisions) {
    if (point.kind != journal::Point::Kind::kEnd) decisions.paused = true;
    decisions.through = number;
  }));
  HOTBACKUP_ASSIGN(const bool served, tell_server(group));
  if (!served) return report_outcome(session, group, served, number);
  const auto past = [&] { return group.layout().applied.load() >= number.value; };
  while (!past() && state_of(group) == ApplyState::kRunning && server_alive(group))
    (void)wait_for(group, [&] { return past() || state_of(group) != ApplyState::kRunning; });
  if (!past()) return report_outcome(session, group, served, number);
  const bool paused = state_of(group) == ApplyState::kPaused;
  const std::string at = human_count(group.layout().applied.load());
  report(session, group, served, paused ? "paused" : "running",
         "applied through update " + at +
             (paused ? "; applying is paused there: hotbackup resume, or hotbackup promote" : ""));
  return kDone;
}

/// "skip 42" where there is only one group: the word is the number.
Result<> take_number(ApplyOptions& options) {
  if (options.number) return {};
  const auto number = parse_number(options.group);
  if (!number)
    return fail(ErrorCode::kConfig, "which update? Type hotbackup skip GROUP N --reason TEXT");
  options.number = *number;
  options.group.clear();
  return {};
}

Result<int> skip(const Session& session, ApplyOptions options) {
  HOTBACKUP_TRY(take_number(options));
  if (options.reason.find_first_not_of(" \t\n") == std::string::npos)
    return fail(ErrorCode::kConfig, "--reason is empty: say why, for those who come after");
  HOTBACKUP_ASSIGN(const auto opened, open_slave(session, options.group));
  control::Group& group = *opened->group;
  const UpdateNumber number(*options.number);
  HOTBACKUP_ASSIGN(const auto waiting, set_aside_here(group));
  if (!waiting || *waiting != number)
    return fail(ErrorCode::kFenced,
                "update " + std::to_string(number.value) + " of group " + opened->settings->name +
                    " is not set aside" +
                    (waiting ? ": update " + std::to_string(waiting->value) + " is" : ""));
  HOTBACKUP_TRY(log_command(session, group.directory()));
  const std::string differs = "update " + std::to_string(number.value) + " was skipped by " +
                              user_name() + " at " + iso8601(wall_now()) + ": " + options.reason;
  HOTBACKUP_TRY(control::change_apply_decisions(group, [&](control::ApplyDecisions& decisions) {
    decisions.skipped.insert(number);
    decisions.differs = differs;
  }));
  group.incidents().raise("HB-copy-differs", "", differs);
  HOTBACKUP_ASSIGN(const bool served, tell_server(group));
  return report_outcome(session, group, served, number);
}

CLI::App* add(CLI::App& app, const char* name, const char* description,
              const std::shared_ptr<ApplyOptions>& options) {
  auto* command = app.add_subcommand(name, description);
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  return command;
}

}  // namespace

void add_apply_commands(CLI::App& app, Session& session) {
  auto options = std::make_shared<ApplyOptions>();
  add(app, "pause", "Stops applying on a slave; receiving goes on", options)
      ->callback([&session, options] {
        session.action = [&session, options] { return pause_or_resume(session, *options, true); };
      });
  add(app, "resume", "Applies again after pause", options)->callback([&session, options] {
    session.action = [&session, options] { return pause_or_resume(session, *options, false); };
  });
  auto* until = add(app, "apply", "Brings the copies to a point of the journal", options);
  until->add_option("--until", options->until, "N, a time with its zone, mark:NAME, or end")
      ->required();
  until->callback([&session, options] {
    session.action = [&session, options] { return apply_until(session, *options); };
  });
  add(app, "retry", "Tries an update again that could not be applied", options)
      ->callback([&session, options] {
        session.action = [&session, options] { return retry(session, *options); };
      });
  auto* command = app.add_subcommand("skip", "Goes on without an update that could not be applied");
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_option("N", options->number, "its number, as the incident says")
      ->transform(update_number());
  command->add_option("--reason", options->reason, "kept with the copy, which differs from now on")
      ->required();
  command->callback([&session, options] {
    session.action = [&session, options] { return skip(session, *options); };
  });
}

}  // namespace hotbackup::cli
