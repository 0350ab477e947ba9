// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/setup_text.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNameMax = 40;
constexpr std::size_t kSameEnding = 2;  // so many files of one ending are a pattern

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

/// "pdns.lmdb-17": the stem of a numbered file is the file before its number.
std::string stem_of(const std::string& path) {
  std::size_t end = path.size();
  while (end > 0 && std::isdigit(static_cast<unsigned char>(path[end - 1])) != 0) --end;
  return end < path.size() && end > 0 && path[end - 1] == '-' ? path.substr(0, end - 1) : path;
}

/// "/maps/*.lmdb", or empty for a file without an ending.
std::string ending_pattern(const std::string& path) {
  const fs::path file = path;
  const std::string ending = file.extension();
  return ending.empty() ? "" : (file.parent_path() / ("*" + ending)).native();
}

std::string name_of(const std::string& path) {
  const fs::path file = path;
  const std::string stem = file.filename() == "*" + file.extension().native()
                               ? file.parent_path().filename().native()
                               : file.stem().native();
  return usable_name(stem.substr(0, stem.find('*')));
}

std::string unique(std::set<std::string>& taken, const std::string& name) {
  std::string out = name;
  for (int n = 2; !taken.insert(out).second; ++n) out = name + "-" + std::to_string(n);
  return out;
}

std::string group_name(const FoundEnvironment& environment) {
  for (const Holder& holder : environment.holders)
    if (!holder.unit.empty()) {
      const std::string unit = holder.unit.substr(0, holder.unit.find(".service"));
      return usable_name(unit.substr(0, unit.find('@')));
    }
  return usable_name(fs::path(environment.directory()).filename());
}

/// One directory's environments as few lines as a person would write.
std::vector<ProposedEnvironment> join_files(const std::vector<const FoundEnvironment*>& found) {
  std::map<std::string, std::size_t> stems;
  std::map<std::string, std::size_t> endings;
  for (const FoundEnvironment* one : found)
    if (!one->subdirectory) ++stems[stem_of(one->path)];
  for (const FoundEnvironment* one : found)
    if (!one->subdirectory && stems[stem_of(one->path)] == 1) ++endings[ending_pattern(one->path)];
  std::map<std::string, std::size_t> paths;
  for (const FoundEnvironment* one : found) {
    std::string path = one->path;
    const std::string ending = ending_pattern(path);
    if (!one->subdirectory && stems[stem_of(path)] > 1)
      path = stem_of(path) + "*";
    else if (!one->subdirectory && !ending.empty() && endings[ending] >= kSameEnding)
      path = ending;
    ++paths[path];
  }
  std::vector<ProposedEnvironment> joined;
  for (const auto& [path, files] : paths) joined.push_back({"", path, files});
  return joined;
}

void add_holders(ProposedGroup& group, const FoundEnvironment& environment) {
  for (const Holder& holder : environment.holders)
    if (std::none_of(group.holders.begin(), group.holders.end(),
                     [&](const Holder& known) { return known.pid == holder.pid; }))
      group.holders.push_back(holder);
}

void write_group(std::ostringstream& out, const ProposedGroup& group,
                 const std::vector<ProposedPeer>& peers) {
  out << "\n[[group]]\nname = " << quoted(group.name) << "\npeers = [";
  for (std::size_t i = 0; i < peers.size(); ++i)
    out << (i == 0 ? "" : ", ") << quoted(peers[i].name);
  out << "]\n";
  if (peers.empty()) out << "# Names of [[peer]]: hotbackup pair adds them.\n";
  char mode[8];
  std::snprintf(mode, sizeof mode, "0%o", static_cast<unsigned>(group.mode & 0777));
  out << "# Owner and mode of copies, lock files and journal files, whoever writes first.\n"
      << "user = " << quoted(group.user) << "\nmode = " << quoted(mode) << "\n";
  for (const Holder& holder : group.holders)
    out << "# " << holder.program << " (" << (holder.unit.empty() ? "no unit" : holder.unit)
        << ", user " << holder.user << ")"
        << (holder.links_library
                ? " has it open.\n"
                : " has it open with LMDB linked in: it cannot be captured by the library.\n");
  for (const ProposedEnvironment& environment : group.environments)
    out << "\n  [[group.env]]\n  name = " << quoted(environment.name)
        << "\n  path = " << quoted(environment.path) << "\n";
}

}  // namespace

std::string usable_name(const std::string& text) {
  std::string out;
  for (const unsigned char c : text) {
    if (std::isalnum(c) != 0)
      out += static_cast<char>(std::tolower(c));
    else if (!out.empty() && out.back() != '-')
      out += '-';
    if (out.size() == kNameMax) break;
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.empty() ? "data" : out;
}

std::vector<ProposedGroup> propose_groups(const std::vector<FoundEnvironment>& found) {
  std::map<std::string, std::vector<const FoundEnvironment*>> directories;
  for (const FoundEnvironment& one : found) directories[one.directory()].push_back(&one);
  // By program and user; a directory goes with its first environment.
  std::map<std::pair<std::string, std::string>, ProposedGroup> groups;
  for (const auto& [directory, environments] : directories) {
    const FoundEnvironment& first = *environments.front();
    ProposedGroup& group = groups[{group_name(first), first.user}];
    group.user = first.user;
    for (const FoundEnvironment* one : environments) {
      group.mode |= one->mode;
      group.bytes += one->bytes;
      add_holders(group, *one);
    }
    for (ProposedEnvironment& environment : join_files(environments))
      group.environments.push_back(std::move(environment));
  }
  std::vector<ProposedGroup> proposed;
  std::set<std::string> names;
  for (auto& [key, group] : groups) {
    group.name = unique(names, key.first);
    std::set<std::string> taken;
    for (ProposedEnvironment& environment : group.environments)
      environment.name = unique(taken, name_of(environment.path));
    proposed.push_back(std::move(group));
  }
  return proposed;
}

std::string write_configuration(const std::string& node, const std::string& state,
                                const std::string& listen, const std::vector<ProposedPeer>& peers,
                                const std::vector<ProposedGroup>& groups) {
  std::ostringstream out;
  out << "# Written by hotbackup setup; yours to edit. Every key is described in\n"
      << "# man hotbackup.toml, and in the example beside it.\n\n"
      << "[node]\nname = " << quoted(node) << "\nstate = " << quoted(state) << "\n";
  if (!listen.empty()) out << "listen = " << quoted(listen) << "\n";
  for (const ProposedPeer& peer : peers) {
    out << "\n[[peer]]\nname = " << quoted(peer.name) << "\naddress = [" << quoted(peer.address)
        << "]\n";
    if (!peer.fingerprint.empty()) out << "fingerprint = " << quoted(peer.fingerprint) << "\n";
  }
  for (const ProposedGroup& group : groups) write_group(out, group, peers);
  return out.str();
}

}  // namespace hotbackup::cli
