// SPDX-License-Identifier: Apache-2.0
#include "common/control/apply_decisions.h"

#include <charconv>

#include "common/control/sealed_text.h"

namespace hotbackup::control {
namespace {

constexpr std::string_view kTitle = "hotbackup applying 1";
constexpr std::string_view kTextSuffix = ".txt";

std::string file_path(const std::string& group_directory) {
  return group_directory + "/applying";
}

std::optional<UpdateNumber> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end || number == 0) return std::nullopt;
  return UpdateNumber(number);
}

/// False for a line that this program does not write.
bool read_line(std::string_view line, ApplyDecisions& decisions) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return false;
  const std::string_view word = line.substr(0, space);
  const std::string_view rest = line.substr(space + 1);
  if (word == "paused" && (rest == "yes" || rest == "no")) {
    decisions.paused = rest == "yes";
  } else if (const auto number = parse_number(rest); word == "skipped" && number) {
    decisions.skipped.insert(*number);
  } else if (word == "through" && number) {
    decisions.through = *number;
  } else if (word == "differs") {
    decisions.differs = rest;
  } else if (word == "unprepared") {
    decisions.unprepared = rest;
  } else {
    return false;
  }
  return true;
}

std::string text_line(const std::string& word, std::string text) {
  if (text.empty()) return text;
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return word + text + "\n";
}

std::string to_lines(const ApplyDecisions& decisions) {
  std::string lines;
  if (decisions.paused) lines += std::string("paused ") + (*decisions.paused ? "yes" : "no") + "\n";
  if (decisions.through.value != 0)
    lines += "through " + std::to_string(decisions.through.value) + "\n";
  for (const UpdateNumber number : decisions.skipped)
    lines += "skipped " + std::to_string(number.value) + "\n";
  lines += text_line("differs ", decisions.differs);
  return lines + text_line("unprepared ", decisions.unprepared);
}

}  // namespace

Result<ApplyDecisions> read_apply_decisions(const std::string& group_directory) {
  ApplyDecisions decisions;
  const std::string path = file_path(group_directory);
  const auto lines = read_sealed(path, kTitle);
  if (!lines && lines.error().code() == ErrorCode::kNotFound) return decisions;
  if (!lines) return fail(Error(lines.error()));
  for (std::string_view rest = *lines; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos || !read_line(rest.substr(0, end), decisions))
      return fail(ErrorCode::kCorrupt, path + " is damaged");
    rest.remove_prefix(end + 1);
  }
  return decisions;
}

Result<> change_apply_decisions(Group& group, const std::function<void(ApplyDecisions&)>& change) {
  HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
  HOTBACKUP_ASSIGN(auto decisions, read_apply_decisions(group.directory()));
  const std::string before = to_lines(decisions);
  change(decisions);
  const std::string after = to_lines(decisions);
  if (after == before) return {};
  return write_sealed(file_path(group.directory()), kTitle, after, group.permissions());
}

Result<> require_prepared(const Group& group) {
  HOTBACKUP_ASSIGN(const auto decisions, read_apply_decisions(group.directory()));
  if (decisions.unprepared.empty()) return {};
  const std::string name(group.layout().group_name);
  return fail(ErrorCode::kFenced, std::string(group.layout().node_name) +
                                      " may not be promoted: " + decisions.unprepared +
                                      ". Mend that and type hotbackup restore --group " + name +
                                      " --hook there, or seed it anew");
}

std::string held_back(const Group& group) {
  const Layout& layout = group.layout();
  const std::string node(layout.node_name);
  if (layout.apply_state.load() == static_cast<std::uint32_t>(ApplyState::kPaused))
    return "applying is paused on " + node;
  const std::chrono::milliseconds delay(layout.apply_delay_ms.load());
  return delay.count() == 0 ? "" : node + " applies " + human_duration(delay) + " late";
}

std::uint32_t request_apply(Group& group) {
  Layout& layout = group.layout();
  const std::uint32_t number = layout.apply_request.fetch_add(1) + 1;
  os::futex_notify(layout.apply_wake);
  return number;
}

Result<std::optional<UpdateNumber>> waiting_set_aside(const Group& group,
                                                      const ApplyDecisions& decisions) {
  auto directory = os::open_directory(set_aside_directory(group), group.permissions());
  if (!directory && directory.error().code() == ErrorCode::kNotFound) return std::nullopt;
  if (!directory) return fail(std::move(directory).error());
  HOTBACKUP_ASSIGN(const auto names, (*directory)->list());
  for (std::string_view name : names) {
    if (!name.ends_with(kTextSuffix)) continue;
    const auto number = parse_number(name.substr(0, name.size() - kTextSuffix.size()));
    if (number && !decisions.skipped.contains(*number)) return number;
  }
  return std::nullopt;
}

std::string set_aside_directory(const Group& group) {
  return group.directory() + "/setaside";
}

std::string set_aside_frames_name(UpdateNumber number) {
  return std::to_string(number.value) + ".frames";
}

std::string set_aside_text_name(UpdateNumber number) {
  return std::to_string(number.value) + std::string(kTextSuffix);
}

}  // namespace hotbackup::control
