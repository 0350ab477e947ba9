// SPDX-License-Identifier: Apache-2.0
// The page: everything in one document, tables and plots drawn here, so that it is whole without
// JavaScript; a script of a few lines only fetches it again.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/incident/catalogue.h"
#include "common/people/message.h"
#include "common/people/pages.h"
#include "common/status/status_json.h"
#include "common/status/verdict.h"

namespace hotbackup::people {
namespace {

using status::GroupStatus;

constexpr const char kHead[] = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>)";

constexpr const char kStyle[] = R"(</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<noscript><meta http-equiv="refresh" content="10"></noscript>
<style>
body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem auto;max-width:62rem;padding:0 1rem;color:#1c2733;background:#fff}
h1{font-size:1.2rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}h3{font-size:.95rem;margin:1.2rem 0 .3rem}
.verdict{padding:.6rem .8rem;border-left:.4rem solid #b3261e;background:#fdecea;overflow-wrap:anywhere}
.verdict.good{border-color:#1b7a43;background:#e8f5ec}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top}
th{font-weight:600;color:#52606d}td.n{text-align:right;font-variant-numeric:tabular-nums}
.plots{display:flex;flex-wrap:wrap;gap:1rem}.plots figure{margin:0;flex:1 1 24rem}figcaption{color:#52606d;font-size:.85rem}
svg{width:100%;height:auto;border:1px solid #dde3ea}.error{color:#b3261e}.warning{color:#8a5a00}footer{color:#52606d;margin-top:2rem;font-size:.85rem}
@media (prefers-color-scheme:dark){body{background:#12181f;color:#dbe3ea}.verdict{background:#3a1d1b}.verdict.good{background:#15301f}
th,figcaption,footer{color:#93a1af}th,td,svg{border-color:#2c3843}.error{color:#ff8a80}.warning{color:#ffca66}}
</style></head><body><main>
)";

constexpr const char kEnd[] = R"(</main><script>
setInterval(async()=>{try{const r=await fetch('/');if(!r.ok)return;
const d=new DOMParser().parseFromString(await r.text(),'text/html');
document.querySelector('main').replaceWith(d.querySelector('main'));document.title=d.title;}
catch(e){document.title='(no answer) '+document.title.replace(/^\(no answer\) /,'')}},2000);
</script></body></html>
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string seconds_text(double seconds) {
  return human_duration(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
}

std::string row(const std::string& name, const std::string& value) {
  return "<tr><th>" + name + "</th><td>" + escaped(value) + "</td></tr>\n";
}

struct Curve {
  std::vector<std::pair<double, double>> points;  // seconds ago, value
  double highest = 0;
  void add(double ago, double value) {
    points.emplace_back(ago, value);
    highest = std::max(highest, value);
  }
};

std::string coordinate(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

/// What is known of the last hour, newest at the right; its scale is in the caption.
std::string plot(const std::string& title, const Curve& curve, const std::string& highest) {
  constexpr double kWidth = 600;
  constexpr double kHeight = 120;
  const double oldest = curve.points.empty() ? 0 : curve.points.front().first;
  const double span = std::clamp(oldest, 60.0, 3600.0);
  std::string line;
  for (const auto& [ago, value] : curve.points) {
    const double x = kWidth - std::min(ago, span) / span * kWidth;
    const double y = kHeight - 4 - (curve.highest > 0 ? value / curve.highest : 0) * (kHeight - 8);
    line += (line.empty() ? "" : " ") + coordinate(x) + "," + coordinate(y);
  }
  return "<figure><svg viewBox=\"0 0 600 120\" role=\"img\" aria-label=\"" + escaped(title) +
         "\"><polyline fill=\"none\" stroke=\"#2a6fb0\" stroke-width=\"1.5\" points=\"" + line +
         "\"/></svg><figcaption>" + escaped(title) + ", last " + seconds_text(span) + "; highest " +
         escaped(highest) + "</figcaption></figure>\n";
}

std::string plots(const std::deque<Point>& points, WallTime now) {
  Curve lag;
  Curve rate;
  const Point* before = nullptr;
  for (const Point& point : points) {
    const double ago = status::seconds_since(now, point.time);
    lag.add(ago, std::max(point.lag_seconds, point.exposure_seconds));
    if (before != nullptr) {
      const double passed = status::seconds_since(point.time, before->time);
      if (passed > 0 && point.published >= before->published)
        rate.add(ago, static_cast<double>(point.published - before->published) / passed);
    }
    before = &point;
  }
  return "<div class=\"plots\">" + plot("Lag and exposure", lag, seconds_text(lag.highest)) +
         plot("Updates a second", rate,
              human_count(static_cast<std::uint64_t>(rate.highest)) + " updates a second") +
         "</div>\n";
}

std::string numbers_table(const GroupStatus& group) {
  const auto count = [](std::uint64_t number) { return human_count(number); };
  const auto json = status::to_json(group);
  const auto& trip = json["test_round_trip_ms"];
  std::string out = "<table>\n";
  out += row("State", json["state"].get<std::string>());
  out += row("Updates", "made " + count(group.made) + ", published " + count(group.published) +
                            ", sent " + count(group.sent) + ", journaled " +
                            count(group.journaled) + ", applied " + count(group.applied));
  out += row("Queue", count(group.queue.updates) + " updates, " + human_bytes(group.queue.bytes));
  out += row("Lag", seconds_text(status::seconds_since(group.now, group.behind.oldest)));
  if (group.role == control::Role::kMaster)
    out +=
        row("Exposure", count(group.exposure.updates) +
                            (group.exposure.updates == 1 ? " update, " : " updates, ") +
                            seconds_text(status::seconds_since(group.now, group.exposure.oldest)) +
                            "; limit " + control::describe(group.limit));
  out += row("Test round trip",
             trip.is_number() ? coordinate(trip.get<double>()) + " ms" : std::string("none yet"));
  out += row("Journal", "from update " + count(group.journal.first) + ", " +
                            human_bytes(group.journal.bytes) + "; " +
                            human_bytes(group.journal.free_bytes) + " free on its disk");
  out += row("Server", group.server.program + " " + status::server_text(group.server));
  return out + "</table>\n";
}

std::string peers_table(const GroupStatus& group) {
  std::string out =
      "<h3>Links</h3><table><tr><th>Peer</th><th>State</th><th>Heard</th><th>Journaled</th>"
      "<th>Applied</th><th>Way home</th></tr>\n";
  for (const status::PeerStatus& peer : group.peers) {
    const std::string heard =
        peer.heard ? seconds_text(status::seconds_since(group.now, peer.heard)) + " ago" : "never";
    std::string state = peer_state(group, peer);
    if (!peer.text.empty()) state += ": " + peer.text;
    const char* home = peer.way_home == control::WayHome::kUnknown   ? ""
                       : peer.way_home == control::WayHome::kReaches ? "reaches"
                                                                     : "does not reach";
    out += "<tr><td>" + escaped(peer.name) + "</td><td>" + escaped(state) + "</td><td>" + heard +
           "</td><td class=\"n\">" + human_count(peer.journaled) + "</td><td class=\"n\">" +
           human_count(peer.applied) + "</td><td>" + home + "</td></tr>\n";
  }
  return out + "</table>\n";
}

std::string group_part(const GroupStatus& group, const History& history, WallTime now) {
  const status::Verdict verdict = judge(group);
  std::string out = "<section id=\"group-" + escaped(group.name) + "\"><h2>" + escaped(group.name) +
                    "</h2>\n<p class=\"verdict" + (verdict.good ? " good" : "") + "\">" +
                    escaped(verdict_line(group, verdict)) + "</p>\n";
  if (!group.initialised || group.role == control::Role::kNone) return out + "</section>\n";
  out += numbers_table(group) + peers_table(group);
  if (const auto points = history.points.find(group.name); points != history.points.end())
    out += plots(points->second, now);
  return out + "</section>\n";
}

std::string incidents_table(const std::vector<catalogue::IncidentRecord>& incidents) {
  std::string out = "<h2>Incidents</h2>\n";
  if (incidents.empty()) return out + "<p>No incident is known.</p>\n";
  out +=
      "<table id=\"incidents\"><tr><th>Time</th><th>Group</th><th>Code</th><th>What</th>"
      "<th>Cleared</th></tr>\n";
  for (const catalogue::IncidentRecord& incident : incidents) {
    const auto json = incident_json(incident);
    std::string what = escaped(incident.text);
    if (!incident.cleared) what += "<br>Next: " + escaped(json["action"].get<std::string>());
    out += "<tr><td>" + iso8601(incident.first) + "</td><td>" + escaped(incident.group) +
           "</td><td class=\"" + json["severity"].get<std::string>() + "\">" +
           escaped(incident.code) + "</td><td>" + what + "</td><td>" +
           (incident.cleared ? iso8601(*incident.cleared) : std::string("open")) + "</td></tr>\n";
  }
  return out + "</table>\n";
}

}  // namespace

std::string html_page(const Known& known) {
  const auto good = [](const GroupStatus& group) { return judge(group).good; };
  const bool well = known.troubles.empty() && std::ranges::all_of(known.groups, good);
  std::string out = kHead + escaped((well ? "" : "! ") + known.node + " · hotbackup") + kStyle;
  out += "<h1>hotbackup on " + escaped(known.node) + "</h1>\n";
  for (const std::string& trouble : known.troubles)
    out += "<p class=\"verdict\">" + escaped(trouble) + "</p>\n";
  for (const GroupStatus& group : known.groups) out += group_part(group, known.history, known.now);
  out += incidents_table(known.history.incidents);
  return out + "<footer>" + iso8601(known.now) +
         " · <a href=\"/status.json\">status.json</a> · <a href=\"/metrics\">metrics</a> · "
         "<a href=\"/health\">health</a></footer>\n" +
         kEnd;
}

}  // namespace hotbackup::people
