// SPDX-License-Identifier: Apache-2.0
#include "slave/setaside.h"

#include "common/base/clock.h"
#include "common/control/apply_decisions.h"
#include "common/journal/reader.h"

namespace hotbackup::slave {
namespace {

Result<std::unique_ptr<os::Directory>> make_directory(control::Group& group) {
  const std::string path = control::set_aside_directory(group);
  os::Permissions inside = group.permissions();
  inside.mode |= 0700 | (inside.mode & 0444) >> 2;  // whoever may read may enter
  HOTBACKUP_TRY(os::make_directories(path, inside));
  HOTBACKUP_ASSIGN(auto home, os::open_directory(group.directory(), group.permissions()));
  HOTBACKUP_TRY(home->sync());
  return os::open_directory(path, group.permissions());
}

Result<> remove_if_there(os::Directory& directory, const std::string& name) {
  auto removed = directory.remove(name);
  if (!removed && removed.error().code() == ErrorCode::kNotFound) return {};
  return removed;
}

/// The update's frames one after the other, as a segment holds them. Returns its commit time.
Result<WallTime> copy_frames(control::Group& group, UpdateNumber number, os::File& to) {
  journal::Reader reader(group.journal_directory(), group.id());
  HOTBACKUP_TRY(reader.seek(number));
  std::uint64_t offset = 0;
  WallTime committed;
  for (;;) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(number));
    if (!frame) break;
    HOTBACKUP_TRY(to.write_at(offset, frame->bytes));
    offset += frame->bytes.size();
    committed = frame->header.commit_time;
  }
  HOTBACKUP_TRY(to.sync_data());
  return committed;
}

std::string describe(const SetAside& update, WallTime committed) {
  std::string text = "update      " + std::to_string(update.number.value) + "\n";
  text += "committed   " + iso8601(committed) + "\n";
  text += "environment " + update.environment + "\n";
  text += "database    " + update.database + "\n";
  text += "key         " + update.key + "\n";
  text += "error       " + update.error + "\n";
  return text + "set aside   " + iso8601(wall_now()) + "\n";
}

}  // namespace

// The description comes last: where it is, the frames are whole.
Result<> set_aside(control::Group& group, const SetAside& update) {
  HOTBACKUP_ASSIGN(auto directory, make_directory(group));
  const std::string name = control::set_aside_frames_name(update.number);
  const std::string unfinished = name + ".new";
  HOTBACKUP_TRY(remove_if_there(*directory, unfinished));
  HOTBACKUP_ASSIGN(auto file, directory->create(unfinished));
  HOTBACKUP_ASSIGN(const WallTime committed, copy_frames(group, update.number, *file));
  HOTBACKUP_TRY(directory->rename(unfinished, name));
  HOTBACKUP_TRY(directory->sync());
  return os::replace_file(
      control::set_aside_directory(group) + "/" + control::set_aside_text_name(update.number),
      describe(update, committed), group.permissions());
}

Result<> remove_set_aside(control::Group& group, UpdateNumber number) {
  auto directory = os::open_directory(control::set_aside_directory(group), group.permissions());
  if (!directory && directory.error().code() == ErrorCode::kNotFound) return {};
  if (!directory) return fail(std::move(directory).error());
  HOTBACKUP_TRY(remove_if_there(**directory, control::set_aside_text_name(number)));
  HOTBACKUP_TRY(remove_if_there(**directory, control::set_aside_frames_name(number)));
  return (*directory)->sync();
}

Result<> remove_applied_set_aside(control::Group& group, UpdateNumber applied) {
  HOTBACKUP_ASSIGN(const auto decisions, control::read_apply_decisions(group.directory()));
  HOTBACKUP_ASSIGN(const auto waiting, control::waiting_set_aside(group, decisions));
  if (!waiting || *waiting > applied) return {};
  return remove_set_aside(group, *waiting);
}

Result<> forget_doubts(control::Group& group) {
  HOTBACKUP_TRY(remove_applied_set_aside(group, group.made()));
  HOTBACKUP_TRY(control::change_apply_decisions(group, [](control::ApplyDecisions& decisions) {
    decisions.skipped.clear();
    decisions.through = UpdateNumber();
    decisions.differs.clear();
    decisions.unprepared.clear();
  }));
  control::IncidentTable incidents = group.incidents();
  for (const char* code : {"HB-apply-failed", "HB-copy-differs", "HB-copy-replaced",
                           "HB-copy-written", "HB-post-restore"})
    incidents.clear_all(code);
  return {};
}

}  // namespace hotbackup::slave
