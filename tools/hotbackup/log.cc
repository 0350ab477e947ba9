// SPDX-License-Identifier: Apache-2.0
// hotbackup log: the journal as history. Reads what is published, and nothing else: an update whose
// commit is still open is no history yet.
#include <unistd.h>
#include <cstdio>

#include "common/base/bytes.h"
#include "common/journal/reader.h"
#include "common/status/group_status.h"
#include "tools/hotbackup/command_line.h"
#include "tools/hotbackup/log_printer.h"

namespace hotbackup::cli {
namespace {

using namespace status;

struct LogOptions {
  std::string group;
  bool unsent = false;
  std::optional<std::uint64_t> from;
  std::optional<std::uint64_t> to;
  std::optional<std::string> environment;
  std::optional<std::string> database;
  std::optional<std::string> key;
  bool follow = false;
  bool data = false;
};

struct Range {
  UpdateNumber from;
  std::optional<UpdateNumber> to;
};

Result<Range> choose_range(const LogOptions& options, control::Group& group,
                           const config::Group& settings) {
  Range range;
  if (options.to) range.to = UpdateNumber(*options.to);
  if (options.unsent) {
    if (group.role() != control::Role::kMaster)
      return fail(ErrorCode::kFenced, "group " + settings.name + " is " +
                                          std::string(role_name(group.role())) +
                                          " here: the queue is on its master");
    range.from = UpdateNumber(reached_by_peers(group, settings).journaled + 1);
  }
  if (options.from) range.from = std::max(range.from, UpdateNumber(*options.from));
  if (range.from.value != 0) return range;
  auto oldest = journal::oldest_update(group.journal_directory());
  if (!oldest && oldest.error().code() != ErrorCode::kNotFound)
    return fail(std::move(oldest).error());
  range.from = oldest.value_or(UpdateNumber(1));
  return range;
}

/// Prints what is published, from where the reader is.
Result<> print_available(journal::Reader& reader, const Range& range, UpdateNumber published,
                         LogPrinter& printer) {
  const UpdateNumber last = range.to ? std::min(*range.to, published) : published;
  for (;;) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(last));
    if (!frame) return {};
    HOTBACKUP_TRY(printer.frame(*frame));
    if (std::ferror(stdout) != 0) return fail(ErrorCode::kIo, "cannot write the output");
  }
}

Result<> print_range(control::Group& group, const Range& range, bool follow, LogPrinter& printer) {
  journal::Reader reader(group.journal_directory(), group.id());
  bool found = false;
  for (;;) {
    const std::uint32_t ticket = group.published_ticket();
    const UpdateNumber published = group.published();
    if (!found && range.from <= published) {
      HOTBACKUP_TRY(reader.seek(range.from));
      found = true;
    }
    if (found) HOTBACKUP_TRY(print_available(reader, range, published, printer));
    if (!follow || (range.to && published >= *range.to)) return {};
    std::fflush(stdout);
    group.wait_published(ticket, std::chrono::milliseconds(200));
  }
}

/// As printed: text, or 0x… for bytes.
Result<std::optional<std::string>> bytes_of(const char* option,
                                            const std::optional<std::string>& text) {
  if (!text || !text->starts_with("0x")) return text;
  auto bytes = unhex(std::string_view(*text).substr(2));
  if (!bytes)
    return fail(ErrorCode::kConfig, std::string(option) + ": '" + *text +
                                        "' is no number of bytes as hexadecimal digits");
  return std::optional<std::string>(std::move(*bytes));
}

/// An environment of the group or of its configuration; one that is only configured has no updates.
Result<> check_environment(control::Group& group, const config::Group& settings,
                           const std::optional<std::string>& name) {
  if (!name) return {};
  std::string names;
  for (const config::Environment& environment : settings.environments) {
    if (environment.name == *name) return {};
    names += (names.empty() ? "" : ", ") + environment.name;
  }
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n)
    if (const auto* entry = group.environment(EnvironmentNumber(n));
        entry != nullptr && (*name == entry->name || *name == entry->configured))
      return {};
  return fail(ErrorCode::kConfig,
              "group " + settings.name + " has no environment '" + *name + "': there is " + names);
}

Result<int> log(const Session& session, const LogOptions& options) {
  if (options.from && options.to && *options.from > *options.to)
    return fail(ErrorCode::kConfig, "--from-number " + std::to_string(*options.from) +
                                        " comes after --to-number " + std::to_string(*options.to));
  HOTBACKUP_ASSIGN(auto database, bytes_of("--db", options.database));
  HOTBACKUP_ASSIGN(auto key, bytes_of("--key", options.key));
  HOTBACKUP_ASSIGN(const auto opened, open_group(session, options.group));
  control::Group& group = *opened->group;
  HOTBACKUP_TRY(check_environment(group, *opened->settings, options.environment));
  HOTBACKUP_ASSIGN(const Range range, choose_range(options, group, *opened->settings));

  LogFilter filter{options.environment, std::move(database), std::move(key), options.data};
  const auto form = !session.json    ? LogPrinter::Form::kText
                    : options.follow ? LogPrinter::Form::kObjectsPerLine
                                     : LogPrinter::Form::kOneObject;
  LogPrinter printer(form, std::move(filter), [&group](EnvironmentNumber number) {
    const control::EnvironmentEntry* entry = group.environment(number);
    if (entry == nullptr)
      return LogPrinter::Names{"environment-" + std::to_string(number.value), ""};
    return LogPrinter::Names{entry->name, entry->configured};
  });
  printer.begin(opened->settings->name);
  auto printed = print_range(group, range, options.follow, printer);
  printer.end();
  if (!printed)
    return fail(std::move(printed).error().with_context("group " + opened->settings->name));
  return kDone;
}

}  // namespace

void add_log(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand("log", "The journal as history: a line an update");
  auto options = std::make_shared<LogOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command->add_flag("--unsent", options->unsent, "only the queue: what no slave has acknowledged");
  command->add_option("--from-number", options->from, "first update (default: the oldest there is)")
      ->transform(update_number());
  command->add_option("--to-number", options->to, "last update (default: the newest published)")
      ->transform(update_number());
  command->add_option("--env", options->environment,
                      "only this environment, or all of a pattern's");
  command->add_option("--db", options->database,
                      "only operations on this database (text or 0x…; '' is the main one)");
  command->add_option("--key", options->key, "only operations on this key (text or 0x…)");
  command->add_flag("--follow", options->follow,
                    "goes on as updates come; with --json an object a line");
  command->add_flag("--data", options->data, "shows each operation with key and value");
  command->callback([&session, options] {
    session.action = [&session, options] { return log(session, *options); };
  });
}

}  // namespace hotbackup::cli
