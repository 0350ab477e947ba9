// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/pair_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hotbackup::cli {
namespace {

using Json = nlohmann::ordered_json;
using Lines = std::vector<std::string>;

// What both nodes should have equal. Commands never travel: a peer may not choose what runs here.
constexpr std::string_view kShared[] = {
    "user",         "mode",         "loss_limit",    "at_limit",
    "wait_max",     "wait_for",     "check_period",  "test_period",
    "keep_journal", "segment_size", "journal_limit", "at_journal_limit",
    "boot_wait",    "rejoin",       "rpo",           "rto"};
constexpr std::size_t kGroupsMax = 64;
constexpr std::size_t kEnvironmentsMax = 64;
constexpr std::size_t kValueBytesMax = 4096;

std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : Json(text).dump())
    out += c == '\x7f' ? std::string("\\u007F") : std::string(1, c);
  return out;
}

std::string list_text(const std::vector<std::string>& words) {
  std::string out = "[";
  for (const std::string& word : words) out += (out.size() > 1 ? ", " : "") + quoted(word);
  return out + "]";
}

std::string_view trimmed(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(" \t");
  return begin == line.npos ? std::string_view() : line.substr(begin);
}

/// The key of "key = value", or empty.
std::string_view key_of(std::string_view line) {
  line = trimmed(line);
  const std::size_t end = line.find_first_of(" \t=");
  if (end == line.npos || trimmed(line.substr(end)).substr(0, 1) != "=") return {};
  return line.substr(0, end);
}

/// The text between the first quotes.
std::string string_value(std::string_view line) {
  const std::size_t begin = line.find_first_of("\"'", line.find('='));
  if (begin == line.npos) return {};
  const std::size_t end = line.find(line[begin], begin + 1);
  return end == line.npos ? std::string() : std::string(line.substr(begin + 1, end - begin - 1));
}

/// One table of the file: the lines from behind its header to the next header.
struct Section {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The table `[[kind]]` with this name; {0, 0} where there is none.
Section find_section(const Lines& lines, std::string_view kind, std::string_view name) {
  const std::string header = "[[" + std::string(kind) + "]]";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!trimmed(lines[i]).starts_with(header)) continue;
    Section section{i + 1, i + 1};
    bool named = false;
    for (; section.end < lines.size() && !trimmed(lines[section.end]).starts_with("[");
         ++section.end)
      named = named ||
              (key_of(lines[section.end]) == "name" && string_value(lines[section.end]) == name);
    if (named) return section;
  }
  return {};
}

/// Gives the key of a table a value: in its place, or behind the name.
void set_key(Lines& lines, Section section, std::string_view key, const std::string& value) {
  std::size_t name_at = section.begin;
  for (std::size_t i = section.begin; i < section.end; ++i) {
    const std::string_view found = key_of(lines[i]);
    if (found == "name") name_at = i;
    if (found != key) continue;
    // An array may go on over several lines.
    std::size_t last = i;
    if (trimmed(std::string_view(lines[i]).substr(lines[i].find('=') + 1)).starts_with("["))
      while (last + 1 < section.end && lines[last].find(']') == std::string::npos) ++last;
    const std::string indent = lines[i].substr(0, lines[i].find_first_not_of(" \t"));
    lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(i),
                lines.begin() + static_cast<std::ptrdiff_t>(last) + 1);
    lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(i),
                 indent + std::string(key) + " = " + value);
    return;
  }
  const std::string indent = lines[name_at].substr(0, lines[name_at].find_first_not_of(" \t"));
  lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(name_at) + 1,
               indent + std::string(key) + " = " + value);
}

Lines split(const std::string& text) {
  Lines lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string join(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

/// Before the first group and the comment over it, or at the end.
void add_peer(Lines& lines, const NewPeer& peer) {
  std::size_t at = 0;
  while (at < lines.size() && !trimmed(lines[at]).starts_with("[[group]]")) ++at;
  if (at < lines.size())
    while (at > 0 && trimmed(lines[at - 1]).starts_with("#")) --at;
  Lines block = {"[[peer]]", "name = " + quoted(peer.name),
                 "address = " + list_text({config::to_text(peer.address)}),
                 "fingerprint = " + quoted(peer.fingerprint), ""};
  if (at > 0 && !trimmed(lines[at - 1]).empty()) block.insert(block.begin(), "");
  if (at == lines.size()) block.pop_back();
  lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(at), block.begin(), block.end());
}

void add_group(Lines& lines, const GroupShape& group, const std::string& peer) {
  lines.insert(lines.end(),
               {"", "[[group]]", "name = " + quoted(group.name), "peers = " + list_text({peer})});
  for (const auto& [key, value] : group.settings) lines.push_back(key + " = " + quoted(value));
  for (const GroupShape::Environment& environment : group.environments) {
    lines.insert(lines.end(), {"", "  [[group.env]]", "  name = " + quoted(environment.name)});
    if (!environment.path.empty()) lines.push_back("  path = " + quoted(environment.path));
    if (!environment.keep_local.empty())
      lines.push_back("  keep_local = " + list_text(environment.keep_local));
  }
}

/// The peer's own table. False where the file says it in a way that is not found in its lines.
bool put_peer(Lines& lines, const config::Peer* present, const NewPeer& peer, Edit& edit) {
  if (present == nullptr) {
    add_peer(lines, peer);
    edit.changes.push_back("[[peer]] " + peer.name + " at " + config::to_text(peer.address));
    return true;
  }
  if (present->fingerprints == std::vector{peer.fingerprint} && !present->addresses.empty())
    return true;
  const Section section = find_section(lines, "peer", peer.name);
  if (section.begin == 0) return false;
  set_key(lines, section, "fingerprint", quoted(peer.fingerprint));
  if (present->addresses.empty())
    set_key(lines, find_section(lines, "peer", peer.name), "address",
            list_text({config::to_text(peer.address)}));
  edit.changes.push_back("the fingerprint of [[peer]] " + peer.name);
  return true;
}

bool put_group(Lines& lines, const config::Configuration& present, const GroupShape& group,
               const std::string& peer, Edit& edit) {
  const auto own = std::find_if(present.groups.begin(), present.groups.end(),
                                [&](const config::Group& g) { return g.name == group.name; });
  if (own == present.groups.end()) {
    add_group(lines, group, peer);
    edit.changes.push_back("[[group]] " + group.name + " with " +
                           std::to_string(group.environments.size()) + " environments");
    return true;
  }
  if (std::count(own->peers.begin(), own->peers.end(), peer) != 0) return true;
  const Section section = find_section(lines, "group", group.name);
  if (section.begin == 0) return false;
  std::vector<std::string> peers = own->peers;
  peers.push_back(peer);
  set_key(lines, section, "peers", list_text(peers));
  edit.changes.push_back(peer + " as a peer of [[group]] " + group.name);
  return true;
}

Result<std::string> text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string() ||
      found->get_ref<const std::string&>().size() > kValueBytesMax)
    return fail(ErrorCode::kProtocol, "an introduction without a good '" + std::string(key) + "'");
  return found->get<std::string>();
}

Result<std::string> name_of(const Json& json, const char* key) {
  HOTBACKUP_ASSIGN(const std::string text, text_of(json, key));
  auto name = config::parse_name(text);
  if (!name) return fail(ErrorCode::kProtocol, name.error().text());
  return name;
}

Result<GroupShape> decode_group(const Json& json) {
  GroupShape group;
  HOTBACKUP_ASSIGN(group.name, name_of(json, "name"));
  const Json settings = json.value("settings", Json::object());
  if (!settings.is_object()) return fail(ErrorCode::kProtocol, "an introduction without settings");
  for (std::string_view key : kShared)
    if (settings.contains(key)) {
      HOTBACKUP_ASSIGN(group.settings[std::string(key)],
                       text_of(settings, std::string(key).c_str()));
    }
  const Json environments = json.value("env", Json::array());
  if (environments.size() > kEnvironmentsMax)
    return fail(ErrorCode::kProtocol, "an introduction with too many environments");
  for (const Json& one : environments) {
    GroupShape::Environment environment;
    HOTBACKUP_ASSIGN(environment.name, name_of(one, "name"));
    HOTBACKUP_ASSIGN(environment.path, text_of(one, "path"));
    for (const Json& rule : one.value("keep_local", Json::array()))
      environment.keep_local.push_back(rule.get<std::string>());
    group.environments.push_back(std::move(environment));
  }
  return group;
}

Result<Introduction> decode_parsed(const Json& json) {
  Introduction introduction;
  HOTBACKUP_ASSIGN(introduction.node, name_of(json, "node"));
  HOTBACKUP_ASSIGN(introduction.address, text_of(json, "address"));
  const auto port = json.value("port", 0u);
  if (port == 0 || port > 65535)
    return fail(ErrorCode::kProtocol, "an introduction without a port");
  introduction.port = static_cast<std::uint16_t>(port);
  const Json groups = json.value("groups", Json::array());
  if (groups.size() > kGroupsMax)
    return fail(ErrorCode::kProtocol, "an introduction with too many groups");
  for (const Json& one : groups) {
    HOTBACKUP_ASSIGN(auto group, decode_group(one));
    introduction.groups.push_back(std::move(group));
  }
  return introduction;
}

}  // namespace

std::vector<GroupShape> shapes_of(const config::Configuration& configuration,
                                  const std::vector<std::string>& only) {
  config::Configuration plain;
  plain.groups.emplace_back();
  const Json defaults = config::to_json(plain)["group"][0];
  const Json all = config::to_json(configuration)["group"];
  std::vector<GroupShape> shapes;
  for (const Json& group : all) {
    GroupShape shape;
    shape.name = group["name"];
    if (!only.empty() && std::find(only.begin(), only.end(), shape.name) == only.end()) continue;
    for (std::string_view key : kShared) {
      const auto found = group.find(key);
      if (found == group.end() || !found->is_string()) continue;
      if (defaults.contains(key) && defaults[std::string(key)] == *found) continue;
      shape.settings[std::string(key)] = found->get<std::string>();
    }
    for (const Json& environment : group["env"])
      shape.environments.push_back({environment["name"], environment.value("path", ""),
                                    environment["keep_local"].get<std::vector<std::string>>()});
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

std::string encode(const Introduction& introduction) {
  Json json = {{"node", introduction.node},
               {"address", introduction.address},
               {"port", introduction.port},
               {"groups", Json::array()}};
  for (const GroupShape& group : introduction.groups) {
    Json one = {{"name", group.name}, {"settings", Json::object()}, {"env", Json::array()}};
    for (const auto& [key, value] : group.settings) one["settings"][key] = value;
    for (const GroupShape::Environment& environment : group.environments)
      one["env"].push_back({{"name", environment.name},
                            {"path", environment.path},
                            {"keep_local", environment.keep_local}});
    json["groups"].push_back(std::move(one));
  }
  return json.dump();
}

Result<Introduction> decode_introduction(std::string_view text) {
  try {
    return decode_parsed(Json::parse(text));
  } catch (const Json::exception&) {
    return fail(ErrorCode::kProtocol, "an introduction that cannot be read");
  }
}

Result<Edit> introduce(const std::string& text, const std::string& source, const NewPeer& peer,
                       const std::vector<GroupShape>& groups) {
  HOTBACKUP_ASSIGN(const config::Configuration present,
                   config::parse(text, source, config::Keys::kBeforePairing));
  if (peer.name == present.node.name)
    return fail(ErrorCode::kConfig, "both nodes are called " + peer.name +
                                        ": give one of them another name in its [node]");
  Edit edit;
  Lines lines = split(text);
  bool found = put_peer(lines, config::find_peer(present, peer.name), peer, edit);
  for (const GroupShape& group : groups)
    found = put_group(lines, present, group, peer.name, edit) && found;
  edit.text = join(lines);
  const auto after = config::parse(edit.text, source, config::Keys::kBeforePairing);
  const config::Peer* put = after ? config::find_peer(*after, peer.name) : nullptr;
  if (found && put != nullptr && put->fingerprints == std::vector{peer.fingerprint}) return edit;
  return fail(ErrorCode::kConfig, "the configuration was not changed" +
                                      (after ? std::string() : " (" + after.error().text() + ")") +
                                      "; write it by hand: [[peer]] name = " + quoted(peer.name) +
                                      ", address = " + list_text({config::to_text(peer.address)}) +
                                      ", fingerprint = " + quoted(peer.fingerprint));
}

std::string fresh_configuration(const std::string& node) {
  return "# Written by hotbackup pair; yours to edit. Every key is described in hotbackup.toml's "
         "example.\n"
         "\n[node]\nname = " +
         quoted(node) + "\nstate = \"/var/lib/hotbackup\"\n";
}

}  // namespace hotbackup::cli
