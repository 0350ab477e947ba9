// SPDX-License-Identifier: Apache-2.0
// hotbackup capture: a drop-in that starts a service under capture, or the dynamic linker's list
// for everything on this machine. What is running already is captured from its next start.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/os/file.h"
#include "tools/hotbackup/capture_library.h"
#include "tools/hotbackup/command.h"

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

struct CaptureOptions {
  std::vector<std::string> units;
  bool system = false;
  bool remove = false;
  std::string root;
};

struct Change {
  std::string file;
  bool changed = false;
  std::string note = {};
};

constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kUnitCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@";

Result<std::string> unit_name(std::string name) {
  if (name.empty() || name.find_first_not_of(kUnitCharacters) != std::string::npos ||
      name.front() == '.')
    return fail(ErrorCode::kConfig, "'" + name + "' is no name of a unit");
  if (!name.ends_with(".service")) name += ".service";
  return name;
}

/// The unit's own file; of an instance its template's. Drop-ins of others are not looked at.
Result<std::string> read_unit(const std::string& root, const std::string& unit) {
  std::string of_template = unit;
  if (const std::size_t at = unit.find('@'); at != std::string::npos)
    of_template = unit.substr(0, at + 1) + ".service";
  for (const std::string& name : {unit, of_template})
    for (const char* place : {"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"}) {
      auto text = os::read_file(root + place + "/systemd/system/" + name);
      if (text || text.error().code() != ErrorCode::kNotFound) return text;
    }
  return fail(ErrorCode::kNotFound, "there is no unit " + unit +
                                        ": see systemctl list-units --type=service, or use "
                                        "hotbackup run for programs that are no service");
}

/// What the unit preloads already: it must not get lost. Empty in the usual case.
std::string preloaded(const std::string& unit_text) {
  std::istringstream lines(unit_text);
  std::string found;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find(kPreload);
    if (!line.starts_with("Environment=") || at == std::string::npos) continue;
    const std::string rest = line.substr(at + kPreload.size());
    found = rest.substr(0, rest.find_first_of("\"' \t"));
  }
  return found;
}

std::string drop_in(const std::string& library, const std::string& before) {
  return "# Written by hotbackup capture; hotbackup capture --remove takes it away again.\n"
         "[Unit]\n"
         "# After a crash of this machine the data are made level with the journal first.\n"
         "Wants=hotbackup-recover.service\n"
         "After=hotbackup-recover.service\n"
         "\n"
         "[Service]\n"
         "Environment=LD_PRELOAD=" +
         library + (before.empty() ? "" : ":" + before) +
         "\n"
         "# The group's journal, also for a service that may write only what it names.\n"
         "ReadWritePaths=-/var/lib/hotbackup/groups\n";
}

constexpr char kShowBoot[] =
    "# Capture has to know the boot id, /proc/sys/kernel/random/boot_id.\n"
    "ProcSubset=all\n";

Result<Change> write(const std::string& file, const std::string& text) {
  const auto before = os::read_file(file);
  if (before && *before == text) return Change{file, false};
  HOTBACKUP_TRY(os::make_directories(fs::path(file).parent_path(), {.mode = 0755}));
  HOTBACKUP_TRY(os::replace_file(file, text, {.mode = 0644}));
  return Change{file, true};
}

Result<Change> remove(const std::string& file) {
  if (::unlink(file.c_str()) != 0) {
    if (errno == ENOENT) return Change{file, false};
    return fail_errno("cannot remove " + file);
  }
  ::rmdir(fs::path(file).parent_path().c_str());  // stays where others have drop-ins
  return Change{file, true};
}

Result<Change> capture_unit(const CaptureOptions& options, const std::string& unit) {
  const std::string file = options.root + "/etc/systemd/system/" + unit + ".d/hotbackup.conf";
  if (options.remove) return remove(file);
  HOTBACKUP_ASSIGN(const std::string text, read_unit(options.root, unit));
  for (const char* key : {"\nRootDirectory=", "\nRootImage="})
    if (text.find(key) != std::string::npos)
      return fail(ErrorCode::kRefused, unit + " runs in a directory of its own (" +
                                           std::string(key + 1) +
                                           "), where the library is not: it would run uncaptured");
  HOTBACKUP_ASSIGN(const std::string library, capture_library());
  const bool hides_boot = text.find("\nProcSubset=pid") != std::string::npos;
  HOTBACKUP_ASSIGN(Change change,
                   write(file, drop_in(library, preloaded(text)) + (hides_boot ? kShowBoot : "")));
  if (hides_boot)
    change.note = unit +
                  " has ProcSubset=pid; the drop-in says ProcSubset=all, or its writes "
                  "would be refused";
  return change;
}

/// One library a line, or several separated by spaces or colons: see ld.so(8).
Result<Change> capture_system(const CaptureOptions& options) {
  const std::string file = options.root + "/etc/ld.so.preload";
  HOTBACKUP_ASSIGN(const std::string library, capture_library());
  auto before = os::read_file(file);
  if (!before && before.error().code() != ErrorCode::kNotFound)
    return fail(std::move(before).error());
  std::string kept;
  bool present = false;
  std::istringstream lines(before ? *before : "");
  for (std::string line; std::getline(lines, line);) {
    const bool ours = line == library;
    present |= ours;
    if (!ours) kept += line + "\n";
  }
  if (present != options.remove) return Change{file, false};
  if (!options.remove) return write(file, library + "\n" + kept);
  if (kept.empty()) return remove(file);
  return write(file, kept);
}

Result<int> capture(const Session& session, const CaptureOptions& options) {
  if (options.system == !options.units.empty())
    return fail(ErrorCode::kConfig,
                "which service? Type hotbackup capture UNIT, or --system for "
                "everything on this machine");
  std::vector<std::string> units;
  for (const std::string& name : options.units) {
    HOTBACKUP_ASSIGN(auto unit, unit_name(name));
    units.push_back(std::move(unit));
  }
  ::umask(022);
  nlohmann::ordered_json out{{"changed", nlohmann::json::array()},
                             {"restart", nlohmann::json::array()}};
  const auto report = [&](const Change& change, const std::string& restart) {
    if (change.changed) out["changed"].push_back(change.file);
    if (change.changed) out["restart"].push_back(restart);
    if (session.json) return;
    std::printf("%s %s\n",
                !change.changed  ? "unchanged"
                : options.remove ? "removed  "
                                 : "written  ",
                change.file.c_str());
    if (!change.note.empty()) std::printf("note      %s\n", change.note.c_str());
    if (change.changed) std::printf("now type  %s\n", restart.c_str());
  };
  if (options.system) {
    HOTBACKUP_ASSIGN(const Change change, capture_system(options));
    report(change, "restart what has LMDB environments open, or this machine");
  }
  for (const std::string& unit : units) {
    HOTBACKUP_ASSIGN(const Change change, capture_unit(options, unit));
    report(change, "systemctl daemon-reload && systemctl restart " + unit);
  }
  if (session.json) std::printf("%s\n", out.dump(2).c_str());
  return kDone;
}

}  // namespace

void add_capture(CLI::App& app, Session& session) {
  auto* command =
      app.add_subcommand("capture", "Starts services under capture from their next start on");
  auto options = std::make_shared<CaptureOptions>();
  command->add_option("UNIT", options->units, "a service, e.g. pdns: gets a drop-in");
  command->add_flag("--system", options->system,
                    "everything on this machine, by /etc/ld.so.preload");
  command->add_flag("--remove", options->remove, "takes it away again");
  command->add_option("--root", options->root, "of another system, e.g. an image being built")
      ->type_name("DIR");
  command->footer(
      "What is running is not touched: it is captured when it is started again. Environments "
      "without a capture link are never captured: hotbackup init makes the links.");
  command->callback([&session, options] {
    session.action = [&session, options] { return capture(session, *options); };
  });
}

}  // namespace hotbackup::cli
