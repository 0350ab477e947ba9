// SPDX-License-Identifier: Apache-2.0
// Prometheus' text format: https://prometheus.io/docs/instrumenting/exposition_formats/. Base
// units, _total for what counts up, one HELP and TYPE a metric, its samples together.
#include <nlohmann/json.hpp>

#include "common/people/pages.h"
#include "common/status/status_json.h"
#include "common/status/verdict.h"

namespace hotbackup::people {
namespace {

using control::Role;
using status::GroupStatus;

using Labels = std::vector<std::pair<std::string, std::string>>;

std::string escaped(const std::string& value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

class Writer {
 public:
  void begin(const std::string& name, const char* type, const char* help) {
    name_ = "hotbackup_" + name;
    out_ += "# HELP " + name_ + " " + help + "\n# TYPE " + name_ + " " + type + "\n";
  }
  void sample(const Labels& labels, double value) {
    std::string list;
    for (const auto& [key, text] : labels)
      list += (list.empty() ? "" : ",") + key + "=\"" + escaped(text) + "\"";
    out_ += name_ + "{" + list + "} " + number_text(value) + "\n";
  }
  std::string take() { return std::move(out_); }

 private:
  std::string name_;
  std::string out_;
};

struct Metric {
  const char* name;
  const char* type;
  const char* help;
  double (*value)(const GroupStatus&);
};

double number(std::uint64_t value) {
  return static_cast<double>(value);
}

const Metric kOfGroups[] = {
    {"good", "gauge", "1 when nothing is to do: PROTECTED or READY.",
     [](const GroupStatus& g) { return status::judge(g).good ? 1.0 : 0.0; }},
    {"epoch", "gauge", "Counts promotions.", [](const GroupStatus& g) { return number(g.epoch); }},
    {"updates_made_total", "counter", "Updates in the master's journal.",
     [](const GroupStatus& g) { return number(g.made); }},
    {"updates_published_total", "counter", "Updates whose fate is known and that may be sent.",
     [](const GroupStatus& g) { return number(g.published); }},
    {"updates_sent_total", "counter", "Updates sent to as many slaves as count.",
     [](const GroupStatus& g) { return number(g.sent); }},
    {"updates_journaled_total", "counter", "Updates safe on the disk of the slave.",
     [](const GroupStatus& g) { return number(g.journaled); }},
    {"updates_applied_total", "counter", "Updates that readers of the copy see.",
     [](const GroupStatus& g) { return number(g.applied); }},
    {"queue_updates", "gauge", "Updates that are still due.",
     [](const GroupStatus& g) { return number(g.queue.updates); }},
    {"queue_bytes", "gauge", "Bytes of journal that are still due.",
     [](const GroupStatus& g) { return number(g.queue.bytes); }},
    {"lag_seconds", "gauge", "Age of the oldest update that the copy does not show.",
     [](const GroupStatus& g) { return status::seconds_since(g.now, g.behind.oldest); }},
    {"exposure_updates", "gauge", "Updates that would be lost if this machine died now.",
     [](const GroupStatus& g) { return number(g.exposure.updates); }},
    {"exposure_seconds", "gauge", "Age of the oldest of them.",
     [](const GroupStatus& g) { return status::seconds_since(g.now, g.exposure.oldest); }},
    {"journal_bytes", "gauge", "Size of the journal.",
     [](const GroupStatus& g) { return number(g.journal.bytes); }},
    {"journal_disk_free_bytes", "gauge", "Free space on the disk of the journal.",
     [](const GroupStatus& g) { return number(g.journal.free_bytes); }},
    {"incidents", "gauge", "Open incidents.",
     [](const GroupStatus& g) { return number(g.incidents.size()); }},
};

void write_roles(Writer& out, const Known& known) {
  out.begin("role", "gauge", "1 for the role of the group on this node.");
  for (const GroupStatus& group : known.groups)
    for (const Role role : {Role::kMaster, Role::kSlave, Role::kFenced, Role::kNone})
      out.sample({{"group", group.name}, {"role", std::string(status::role_name(role))}},
                 group.role == role ? 1 : 0);
}

void write_peers(Writer& out, const Known& known) {
  const auto each = [&](auto value) {
    for (const GroupStatus& group : known.groups)
      for (const status::PeerStatus& peer : group.peers)
        out.sample({{"group", group.name}, {"peer", peer.name}}, value(group, peer));
  };
  out.begin("peer_up", "gauge", "1 while the link streams.");
  each([](const GroupStatus& group, const status::PeerStatus& peer) {
    const bool heard = peer.heard && group.now - *peer.heard <= 3 * group.check_period;
    return peer.link == control::LinkState::kStreaming && heard ? 1.0 : 0.0;
  });
  out.begin("peer_heard_timestamp_seconds", "gauge", "When the peer was heard last; 0: never.");
  each([](const GroupStatus&, const status::PeerStatus& peer) {
    if (!peer.heard) return 0.0;
    return std::chrono::duration<double>(peer.heard->time_since_epoch()).count();
  });
  out.begin("peer_journaled_total", "counter", "Updates that the peer has acknowledged.");
  each([](const GroupStatus&, const status::PeerStatus& peer) { return number(peer.journaled); });
}

}  // namespace

std::string metrics(const Known& known) {
  Writer out;
  out.begin("up", "gauge", "1: this page was made.");
  out.sample({{"node", known.node}}, 1);
  for (const Metric& metric : kOfGroups) {
    out.begin(metric.name, metric.type, metric.help);
    for (const GroupStatus& group : known.groups)
      out.sample({{"group", group.name}}, metric.value(group));
  }
  write_roles(out, known);
  out.begin("server_up", "gauge", "1 while the server of the group runs.");
  for (const GroupStatus& group : known.groups)
    out.sample({{"group", group.name}, {"server", group.server.program}},
               group.server.alive ? 1 : 0);
  write_peers(out, known);
  out.begin("test_round_trip_seconds", "gauge", "Of the last test update that came back.");
  for (const GroupStatus& group : known.groups)
    if (const auto json = status::to_json(group); json["test_round_trip_ms"].is_number())
      out.sample({{"group", group.name}}, json["test_round_trip_ms"].get<double>() / 1000);
  out.begin("incident_open", "gauge", "1 for each kind of incident that is open.");
  for (const GroupStatus& group : known.groups) {
    std::map<std::string, std::string> open;  // one a code, whatever its subjects
    for (const status::Incident& incident : group.incidents)
      open[incident.code] = incident.severity;
    for (const auto& [code, severity] : open)
      out.sample({{"group", group.name}, {"code", code}, {"severity", severity}}, 1);
  }
  return out.take();
}

}  // namespace hotbackup::people
