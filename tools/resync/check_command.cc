// SPDX-License-Identifier: Apache-2.0
// hotbackup check: saves, volumes and journal segments, off-line; names every damaged place.
#include <cstdio>
#include <filesystem>

#include "common/journal/scan.h"
#include "common/journal/segment.h"
#include "tools/resync/check.h"
#include "tools/resync/command.h"
#include "tools/resync/filtered.h"
#include "tools/resync/found.h"
#include "tools/resync/places.h"
#include "tools/resync/save_reader.h"
#include "tools/resync/streams.h"

namespace hotbackup::resync {
namespace {

struct CheckOptions {
  std::vector<std::string> files;
  std::string filter;
  bool record = false;
};

/// Frames of a volume: whole, and each follows on from the one before.
class VolumeCheck {
 public:
  static Result<VolumeCheck> begin(const Json& head) {
    HOTBACKUP_ASSIGN(const auto group, GroupId::from_hex(head.value("group_id", "")));
    HOTBACKUP_ASSIGN(const auto chain, chain_from_hex(head.value("chain", "")));
    const UpdateNumber first(head.value("first", std::uint64_t{1}));
    return VolumeCheck(group, first, chain);
  }
  Result<> block(const Block& block) {
    if (block.kind != BlockKind::kFrames) return {};
    return each_frame(block.raw, [&](const auto& frame) { return sequence_.accept(frame); });
  }
  Result<> end(const Json& end) const {
    if (sequence_.at_boundary() &&
        end.value("last", std::uint64_t{0}) == sequence_.next_number().previous().value)
      return {};
    return fail(ErrorCode::kCorrupt, "it does not hold the updates that its end names");
  }

 private:
  VolumeCheck(GroupId group, UpdateNumber first, ChainHash chain)
      : sequence_(group, first, chain) {}
  journal::FrameSequence sequence_;
};

template <class Check>
Result<> check_content(Check& content, ContainerReader& reader, Checked& checked) {
  bool whole = true;  // what lies behind a gap cannot be told from what follows on from it
  HOTBACKUP_ASSIGN(auto damage, reader.check([&](const Block& block, bool gap) -> Result<> {
    whole = whole && !gap;
    if (!whole || block.kind == BlockKind::kEnd) return {};
    auto good = content.block(block);
    whole = whole && good;
    return good;
  }));
  if (damage.empty())
    if (auto end = content.end(reader.end()); !end)
      damage.push_back({reader.offset(), end.error().text()});
  checked.damage = std::move(damage);
  return {};
}

Result<> check_container(const std::string& path, const std::string& filter, Checked& checked) {
  HOTBACKUP_ASSIGN(auto source, open_source(path, filter));
  HOTBACKUP_ASSIGN(auto reader, ContainerReader::open(std::move(source), path));
  const Json& head = reader->head().text;
  checked.what = head.value("group", "");
  if (reader->head().kind == ContainerKind::kSave) {
    checked.kind = "save";
    checked.what += " at update " + human_count(head.value("number", std::uint64_t{0}));
    HOTBACKUP_ASSIGN(auto content, SaveCheck::begin(head));
    HOTBACKUP_TRY(check_content(*content, *reader, checked));
  } else {
    checked.kind = "volume";
    HOTBACKUP_ASSIGN(auto content, VolumeCheck::begin(head));
    HOTBACKUP_TRY(check_content(content, *reader, checked));
    checked.what +=
        " updates " + human_count(head.value("first", std::uint64_t{0})) + " … " +
        (reader->end().is_object() ? human_count(reader->end().value("last", std::uint64_t{0}))
                                   : "?");
  }
  checked.bytes = reader->offset();
  return {};
}

/// A segment's frames; behind the last one only zeros, or what a recycled file still holds.
Result<> check_segment(const std::string& path, Checked& checked) {
  checked.kind = "segment";
  const std::filesystem::path whole(path);
  const std::string parent = whole.parent_path();
  HOTBACKUP_ASSIGN(auto directory, os::open_directory(parent.empty() ? "." : parent, {}));
  HOTBACKUP_ASSIGN(auto file, directory->open(whole.filename(), /*writable=*/false));
  HOTBACKUP_ASSIGN(checked.bytes, file->size());
  const auto header = journal::read_segment_header(*file);
  if (!header) {
    checked.damage.push_back({0, header.error().text()});
    return {};
  }
  journal::FrameSequence sequence(header->group, header->first, header->chain);
  journal::SegmentScan scan(*file, journal::kSegmentHeaderBytes);
  for (;;) {
    const auto frame = scan.next(sequence, UpdateNumber(~std::uint64_t{0}));
    if (frame) continue;
    if (frame.error().code() == ErrorCode::kIo) return fail(frame.error());
    if (!scan.at_blank() && !sequence.at_boundary())
      checked.damage.push_back({scan.offset(), frame.error().text()});
    else if (!scan.at_blank())
      checked.damage.push_back({scan.offset(), "damaged, or torn: " + frame.error().text()});
    else if (!sequence.at_boundary())
      checked.damage.push_back({scan.offset(), "an update ends early"});
    break;
  }
  checked.what = "updates " + human_count(header->first.value) + " … " +
                 human_count(sequence.next_number().previous().value);
  return {};
}

/// Only what the filter made can be seen.
Result<> check_unread(const Found& found, Checked& checked) {
  HOTBACKUP_ASSIGN(const auto info, read_info(found.path));
  checked.kind = found.volume ? "volume" : "save";
  checked.how = "filtered";
  checked.bytes = found.bytes;
  checked.what = found.group() + (found.volume ? " updates " + human_count(found.first()) + " … " +
                                                     human_count(found.last())
                                               : " at update " + human_count(found.number()));
  HOTBACKUP_ASSIGN(auto damage, check_filtered(found.path, info));
  for (auto& place : damage) checked.damage.push_back({place.offset, std::move(place.text)});
  return {};
}

}  // namespace

Result<Checked> check_file(const std::string& path, const std::string& filter) {
  Checked checked;
  checked.path = path;
  const auto look = [&]() -> Result<> {
    if (path.ends_with(".hbj")) return check_segment(path, checked);
    if (path == "-") return check_container(path, filter, checked);
    const Found found = look_at(path);
    if (found.filtered && filter.empty()) return check_unread(found, checked);
    // One that lies open needs no key; what nothing is known of may need it.
    if (!found.filtered) return check_container(path, found.head.empty() ? filter : "", checked);
    // The filter may fail on what is damaged without saying where, or overlook it.
    HOTBACKUP_TRY(check_unread(found, checked));
    if (!checked.damage.empty()) return {};
    HOTBACKUP_TRY(check_container(path, filter, checked));
    checked.how = "read";
    checked.bytes = found.bytes;
    return {};
  };
  const auto done = look();
  if (done) return checked;
  // Not to be able to read it at all is a failure of the check; to read nonsense is a find.
  if (done.error().code() != ErrorCode::kCorrupt && done.error().code() != ErrorCode::kVersion)
    return fail(done.error());
  checked.damage.push_back({0, done.error().text()});
  return checked;
}

namespace {

Result<std::vector<std::string>> named_files(const std::vector<std::string>& words) {
  std::vector<std::string> files;
  for (const std::string& word : words) {
    std::error_code error;
    if (!std::filesystem::is_directory(word, error)) {
      files.push_back(word);
      continue;
    }
    std::vector<std::string> below;
    for (const auto& entry : std::filesystem::directory_iterator(word, error)) {
      const std::string path = entry.path();
      if (path.ends_with(".hbs") || path.ends_with(".hbv") || path.ends_with(".hbj"))
        below.push_back(path);
    }
    if (error) return fail_errno("listing " + word, error.value());
    if (below.empty())
      return fail(ErrorCode::kNotFound, "there is no save, volume or segment in " + word);
    std::sort(below.begin(), below.end());
    files.insert(files.end(), below.begin(), below.end());
  }
  return files;
}

Json to_json(const Checked& one) {
  Json damage = Json::array();
  for (const auto& place : one.damage)
    damage.push_back(Json{{"offset", place.offset}, {"text", place.text}});
  return Json{{"path", one.path},           {"kind", one.kind}, {"what", one.what},
              {"bytes", one.bytes},         {"how", one.how},   {"ok", one.damage.empty()},
              {"damage", std::move(damage)}};
}

Result<int> check(const Session& session, const CheckOptions& options) {
  HOTBACKUP_ASSIGN(const auto files, named_files(options.files));
  Json list = Json::array();
  bool found = false;
  for (const std::string& path : files) {
    HOTBACKUP_ASSIGN(const Checked one, check_file(path, options.filter));
    found = found || !one.damage.empty();
    list.push_back(to_json(one));
    if (options.record && one.damage.empty() && one.kind != "segment")
      HOTBACKUP_TRY(write_verified(path, one.bytes, one.how));
    if (session.json) continue;
    if (one.damage.empty())
      std::printf("%s: good, %s of %s (%s%s)\n", path.c_str(), one.kind.c_str(), one.what.c_str(),
                  human_bytes(one.bytes).c_str(),
                  one.how == "filtered" ? "; its bytes, not what is behind its filter" : "");
    for (const auto& place : one.damage)
      std::printf("%s: damaged at byte %llu: %s\n", path.c_str(),
                  static_cast<unsigned long long>(place.offset), place.text.c_str());
  }
  if (session.json)
    std::printf("%s\n", Json{{"ok", !found}, {"files", std::move(list)}}
                            .dump(-1, ' ', false, Json::error_handler_t::replace)
                            .c_str());
  return found ? cli::kFound : cli::kDone;
}

}  // namespace

void add_check(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "check", "Verifies saves, volumes and journal segments; exit 4 names each damaged place");
  auto options = std::make_shared<CheckOptions>();
  command->add_option("FILE", options->files, "files, directories of them, or -")->required();
  command
      ->add_option("--filter", options->filter, "shell command they come through: age -d, gpg -d")
      ->type_name("COMMAND");
  command->add_flag("--record", options->record,
                    "notes beside each good file that and when it was verified, for saves");
  command->callback([&session, options] {
    session.action = [&session, options] { return check(session, *options); };
  });
}

}  // namespace hotbackup::resync
