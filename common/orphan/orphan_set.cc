// SPDX-License-Identifier: Apache-2.0
#include "common/orphan/orphan_set.h"

#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "common/control/sealed_text.h"
#include "common/journal/reader.h"
#include "common/journal/segment.h"

namespace hotbackup::orphan {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSetTitle = "hotbackup orphans 1";
constexpr std::string_view kDecidedTitle = "hotbackup orphans decided 1";
constexpr char kUnfinished[] = ".new";

std::string home(const std::string& group_directory) {
  return group_directory + "/orphans";
}
std::string place(const std::string& group_directory, const std::string& name) {
  return home(group_directory) + "/" + name;
}

std::string set_name(const Position& common, UpdateNumber last, const Epoch& epoch) {
  return std::to_string(common.number.next().value) + "-" + std::to_string(last.value) + "-e" +
         std::to_string(epoch.counter);
}

tl::unexpected<Error> damaged(const std::string& path) {
  return fail(ErrorCode::kCorrupt, path + " is damaged");
}

Result<> sync_directory(const std::string& path, const os::Permissions& permissions) {
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(path, permissions));
  return directory->sync();
}

std::string described(const Set& set) {
  std::ostringstream out;
  out << "after " << set.common.number.value << ' ' << set.common.epoch.counter << ' '
      << set.common.epoch.node.value << ' ' << set.common.chain.low << ' ' << set.common.chain.high
      << "\nlast " << set.last.value << ' ' << set.epoch.counter << ' ' << set.epoch.node.value
      << "\norphans " << set.count << "\ntime " << set.time.time_since_epoch().count()
      << "\nmaster " << set.master << "\n";
  return out.str();
}

/// The frames one after the other in one segment of exactly their size. Counts the orphans.
Result<> copy_frames(control::Group& group, const Position& common, os::Directory& to, Set& set) {
  const UpdateNumber first = common.number.next();
  journal::Reader reader(group.journal_directory(), group.id());
  HOTBACKUP_TRY(reader.seek(first));
  if (reader.position().chain != common.chain)
    return fail(ErrorCode::kDiverged,
                "the journal has another history at update " + std::to_string(common.number.value));
  HOTBACKUP_ASSIGN(auto file, to.create(journal::segment_name(first)));
  std::uint64_t offset = journal::kSegmentHeaderBytes;
  for (;;) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(set.last));
    if (!frame) break;
    if (frame->header.last_part && is_orphan(frame->header)) ++set.count;
    HOTBACKUP_TRY(file->write_at(offset, frame->bytes));
    offset += frame->bytes.size();
  }
  if (reader.next_number() != set.last.next())
    return fail(ErrorCode::kCorrupt, "the journal ends before what was made");
  set.epoch = reader.position().epoch;
  HOTBACKUP_TRY(file->write_at(
      0, journal::encode_segment_header({group.id(), first, common.chain, common.epoch, offset})));
  HOTBACKUP_TRY(file->sync_data());
  return to.sync();
}

Result<> read_decided(const std::string& directory, Set& set) {
  const std::string path = directory + "/decided";
  auto text = control::read_sealed(path, kDecidedTitle);
  if (!text && text.error().code() == ErrorCode::kNotFound) return {};
  if (!text) return fail(std::move(text).error());
  std::istringstream in(*text);
  std::uint64_t number = 0;
  std::string what;
  std::int64_t time = 0;
  std::uint64_t became = 0;
  while (in >> number >> what >> time >> became) {
    if (what != "applied" && what != "dropped") return damaged(path);
    set.decided[UpdateNumber(number)] = {
        what == "applied", WallTime(std::chrono::nanoseconds(time)), UpdateNumber(became)};
  }
  return in.eof() ? Result<>() : damaged(path);
}

}  // namespace

bool is_orphan(const journal::FrameHeader& header) {
  return header.kind == journal::FrameKind::kUpdate && !header.is_void() && header.body_bytes != 0;
}

Result<Set> read(const std::string& group_directory, const std::string& name) {
  const std::string path = place(group_directory, name) + "/set";
  HOTBACKUP_ASSIGN(const auto text, control::read_sealed(path, kSetTitle));
  Set set;
  set.name = name;
  std::istringstream in(text);
  std::string word[5];
  std::int64_t time = 0;
  in >> word[0] >> set.common.number.value >> set.common.epoch.counter >>
      set.common.epoch.node.value >> set.common.chain.low >> set.common.chain.high >> word[1] >>
      set.last.value >> set.epoch.counter >> set.epoch.node.value >> word[2] >> set.count >>
      word[3] >> time >> word[4] >> set.master;
  const bool named = word[0] == "after" && word[1] == "last" && word[2] == "orphans" &&
                     word[3] == "time" && word[4] == "master";
  if (in.fail() || !named || set.last <= set.common.number) return damaged(path);
  set.time = WallTime(std::chrono::nanoseconds(time));
  HOTBACKUP_TRY(read_decided(place(group_directory, name), set));
  return set;
}

Result<std::vector<Set>> list(const std::string& group_directory) {
  std::vector<Set> sets;
  auto directory = os::open_directory(home(group_directory), {});
  if (!directory && directory.error().code() == ErrorCode::kNotFound) return sets;
  if (!directory) return fail(std::move(directory).error());
  HOTBACKUP_ASSIGN(const auto names, (*directory)->list());
  for (const std::string& name : names) {
    if (name.ends_with(kUnfinished)) continue;
    HOTBACKUP_ASSIGN(auto set, read(group_directory, name));
    sets.push_back(std::move(set));
  }
  std::sort(sets.begin(), sets.end(), [](const Set& a, const Set& b) { return a.time < b.time; });
  return sets;
}

// Under another name until it is whole.
Result<std::string> write(control::Group& group, const Position& common,
                          const std::string& master) {
  Set set;
  set.common = common;
  set.last = group.made();
  set.master = master;
  set.time = wall_now();
  const std::string directory = group.directory();
  os::Permissions inside = group.permissions();
  inside.mode |= 0700 | (inside.mode & 0444) >> 2;  // whoever may read may enter
  HOTBACKUP_ASSIGN(const auto end,
                   journal::position_at(group.journal_directory(), group.id(), set.last));
  const std::string name = set_name(common, set.last, end.epoch);
  const std::string path = place(directory, name);
  if (::access(path.c_str(), F_OK) == 0) return name;
  const std::string unfinished = path + kUnfinished;
  std::error_code failed;
  fs::remove_all(unfinished, failed);
  HOTBACKUP_TRY(os::make_directories(unfinished, inside));
  {
    HOTBACKUP_ASSIGN(auto to, os::open_directory(unfinished, group.permissions()));
    HOTBACKUP_TRY(copy_frames(group, common, *to, set));
  }
  HOTBACKUP_TRY(
      control::write_sealed(unfinished + "/set", kSetTitle, described(set), group.permissions()));
  if (::rename(unfinished.c_str(), path.c_str()) != 0) return fail_errno("naming " + path);
  HOTBACKUP_TRY(sync_directory(home(directory), group.permissions()));
  HOTBACKUP_TRY(sync_directory(directory, group.permissions()));
  return name;
}

Result<> for_each_frame(const std::string& group_directory, const GroupId& group, const Set& set,
                        const Visit& visit) {
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(place(group_directory, set.name), {}));
  journal::Reader reader(*directory, group);
  HOTBACKUP_TRY(reader.seek(set.common.number.next()));
  while (reader.next_number() <= set.last || !reader.at_boundary()) {
    HOTBACKUP_ASSIGN(const auto frame, reader.next(set.last));
    if (!frame) return damaged(place(group_directory, set.name));
    HOTBACKUP_TRY(visit(*frame));
  }
  return {};
}

Result<> decide(const std::string& group_directory, const os::Permissions& permissions, Set& set,
                UpdateNumber number, const Decision& decision) {
  set.decided[number] = decision;
  std::string lines;
  for (const auto& [decided, how] : set.decided)
    lines += std::to_string(decided.value) + (how.applied ? " applied " : " dropped ") +
             std::to_string(how.time.time_since_epoch().count()) + " " +
             std::to_string(how.became.value) + "\n";
  return control::write_sealed(place(group_directory, set.name) + "/decided", kDecidedTitle, lines,
                               permissions);
}

Result<> remove(const std::string& group_directory, const Set& set) {
  const std::string path = place(group_directory, set.name);
  const std::string gone = path + kUnfinished;
  if (::rename(path.c_str(), gone.c_str()) != 0) return fail_errno("removing " + path);
  std::error_code failed;
  fs::remove_all(gone, failed);
  if (failed) return fail_errno("removing " + gone, failed.value());
  return sync_directory(home(group_directory), {});
}

Result<> note_open(control::Group& group) {
  HOTBACKUP_ASSIGN(const auto sets, list(group.directory()));
  std::uint64_t open = 0;
  for (const Set& set : sets) open += set.open();
  if (open == 0)
    group.incidents().clear("HB-orphans");
  else
    group.incidents().raise("HB-orphans", "",
                            std::to_string(open) + " updates made here are not in the history of " +
                                sets.back().master + "; they are kept as orphans");
  return {};
}

}  // namespace hotbackup::orphan
