// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "common/config/configuration.h"
#include "common/config/vocabulary.h"

namespace hotbackup::config {
namespace {

using Json = nlohmann::ordered_json;

std::string off_or(const std::optional<milliseconds>& value) {
  return value ? to_text(*value) : "off";
}
std::string off_or(const std::optional<Address>& value) {
  return value ? to_text(*value) : "off";
}

std::string acknowledge_text(const Acknowledge& acknowledge) {
  if (acknowledge.kind == Acknowledge::Kind::kAny) return "any";
  if (acknowledge.kind == Acknowledge::Kind::kAll) return "all";
  return std::to_string(acknowledge.count);
}

Json node_json(const Node& node) {
  return {{"name", node.name},
          {"state", node.state},
          {"listen", to_text(node.listen)},
          {"status", off_or(node.status)},
          {"smtp", off_or(node.smtp)},
          {"heartbeat_url", node.heartbeat_url.value_or("off")}};
}

Json peer_json(const Peer& peer) {
  Json json = {{"name", peer.name}, {"address", Json::array()}};
  for (const Address& address : peer.addresses) json["address"].push_back(to_text(address));
  if (peer.fingerprints.size() == 1)
    json["fingerprint"] = peer.fingerprints.front();
  else if (!peer.fingerprints.empty())
    json["fingerprint"] = peer.fingerprints;
  json["rate"] =
      peer.rate_bytes_per_second ? size_to_text(*peer.rate_bytes_per_second) + "/s" : "off";
  return json;
}

Json environment_json(const Environment& environment) {
  Json json = {{"name", environment.name}};
  if (!environment.path.empty()) json["path"] = environment.path;
  json["capture"] = "library";
  json["durability"] = "plain";
  json["keep_local"] = environment.keep_local.texts();
  return json;
}

Json group_json(const Group& group) {
  Json json = {{"name", group.name}, {"peers", group.peers}};
  if (!group.user.empty()) json["user"] = group.user;
  json["mode"] = mode_to_text(group.mode);
  json["loss_limit"] = group.loss_limit ? to_text(*group.loss_limit) : "off";
  json["at_limit"] = word_of(kAtLimit, group.at_limit);
  json["wait_max"] = off_or(group.wait_max);
  json["wait_for"] = word_of(kWaitFor, group.wait_for);
  json["acknowledge"] = acknowledge_text(group.acknowledge);
  json["lease"] = "off";
  json["lease"] = off_or(group.lease);
  json["boot_wait"] = off_or(group.boot_wait);
  json["before_promote"] = group.before_promote;
  json["on_promote"] = group.on_promote;
  json["on_demote"] = group.on_demote;
  json["rejoin"] = word_of(kRejoin, group.rejoin);
  json["check_period"] = to_text(group.check_period);
  json["test_period"] = off_or(group.test_period);
  json["apply"] = group.apply == Apply::kPaused    ? "paused"
                  : group.apply_delay.count() == 0 ? "at once"
                                                   : to_text(group.apply_delay);
  json["keep_journal"] = off_or(group.keep_journal);
  json["segment_size"] = size_to_text(group.segment_bytes);
  json["journal_limit"] =
      group.journal_limit_bytes ? size_to_text(*group.journal_limit_bytes) : "off";
  json["at_journal_limit"] = word_of(kAtJournalLimit, group.at_journal_limit);
  json["archive"] = group.archive.empty() ? "off" : group.archive;
  json["files"] = group.files;
  json["rpo"] = off_or(group.rpo);
  json["rto"] = off_or(group.rto);
  json["post_restore"] = group.post_restore;
  json["drill"] = group.drill;
  json["saves"] = {{"full", to_text(group.saves.full)},
                   {"differential", off_or(group.saves.differential)},
                   {"into", group.saves.into},
                   {"keep", off_or(group.saves.keep)},
                   {"verify", word_of(kVerify, group.saves.verify)},
                   {"filter", group.saves.filter},
                   {"unfilter", group.saves.unfilter}};
  if (!group.reports.empty()) json["reports"] = group.reports;
  json["env"] = Json::array();
  for (const Environment& environment : group.environments) {
    json["env"].push_back(environment_json(environment));
  }
  return json;
}

/// JSON's strings and arrays of strings are TOML's too, but that TOML wants no raw DEL.
std::string toml_text(const Json& value) {
  std::string text;
  for (char c : value.dump()) {
    if (c == '\x7f') {
      text += "\\u007F";
    } else {
      text += c;
    }
  }
  return text;
}

bool is_table(const Json& value) {
  return value.is_object() || (value.is_array() && !value.empty() && value[0].is_object());
}

void write_table(const std::string& name, const Json& table, std::string& out) {
  for (const auto& [key, value] : table.items()) {
    if (is_table(value) || (value.is_array() && key == "env")) continue;
    out += key + " = " + toml_text(value) + "\n";
  }
  for (const auto& [key, value] : table.items()) {
    const std::string inner = name.empty() ? key : name + "." + key;
    if (value.is_object()) {
      out += "\n[" + inner + "]\n";
      write_table(inner, value, out);
    } else if (is_table(value)) {
      for (const Json& element : value) {
        out += "\n[[" + inner + "]]\n";
        write_table(inner, element, out);
      }
    }
  }
}

}  // namespace

Json to_json(const Configuration& configuration) {
  Json json = {{"source", configuration.source}, {"node", node_json(configuration.node)},
               {"notify", Json::array()},        {"peer", Json::array()},
               {"group", Json::array()},         {"warnings", configuration.warnings}};
  for (const Notify& notify : configuration.notify) {
    json["notify"].push_back({{"to", notify.to},
                              {"from", word_of(kSeverities, notify.from)},
                              {"groups", notify.groups}});
  }
  for (const Peer& peer : configuration.peers) json["peer"].push_back(peer_json(peer));
  for (const Group& group : configuration.groups) json["group"].push_back(group_json(group));
  return json;
}

std::string describe(const Configuration& configuration) {
  Json json = to_json(configuration);
  json.erase("source");
  json.erase("warnings");
  std::string out = "# " + configuration.source + ", with every default\n";
  for (const char* list : {"notify", "peer", "group"}) {
    if (json[list].empty()) json.erase(list);
  }
  write_table("", json, out);
  return out;
}

}  // namespace hotbackup::config
