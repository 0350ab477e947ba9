// SPDX-License-Identifier: Apache-2.0
#include "common/people/pages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/status/status_json.h"
#include "common/status/verdict.h"

namespace hotbackup::people {
namespace {

using control::Role;
using nlohmann::ordered_json;
using status::GroupStatus;

HttpResponse text(unsigned code, std::string body) {
  return {code, "text/plain; charset=utf-8", std::move(body) + "\n"};
}

HttpResponse status_json(const Known& known) {
  ordered_json out{
      {"time", iso8601(known.now)}, {"node", known.node}, {"groups", ordered_json::array()}};
  for (const GroupStatus& group : known.groups) out["groups"].push_back(status::to_json(group));
  return {200, "application/json",
          out.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n"};
}

std::string line_of(const GroupStatus& group) {
  return verdict_line(group, judge(group));
}

/// Why a load balancer should not send writers here; empty when it may.
std::string not_master(const GroupStatus& group) {
  if (group.role != Role::kMaster) return "not master: " + line_of(group);
  if (group.os_error != 0 || group.limit_refuses) return "takes no writes: " + line_of(group);
  return {};
}

/// Why readers should not be sent here; empty when they may.
std::string not_slave(const GroupStatus& group, const std::optional<double>& lag_max) {
  if (group.role != Role::kSlave) return "not slave: " + line_of(group);
  const double lag = status::seconds_since(group.now, group.behind.oldest);
  const auto master = std::ranges::find(group.peers, group.master_name, &status::PeerStatus::name);
  const bool heard = master != group.peers.end() && master->heard &&
                     group.now - *master->heard <= 3 * group.check_period;
  if (group.applied == 0 || group.rejoining) return "no copy to read yet: " + line_of(group);
  if (lag_max && (!group.server.alive || !heard)) return "lag not known: " + line_of(group);
  if (lag_max && lag > *lag_max) return "lags " + std::to_string(lag) + " s: " + line_of(group);
  for (const status::Incident& incident : group.incidents)
    if (incident.code.starts_with("HB-copy-")) return "not to be read: " + line_of(group);
  return {};
}

/// "5", "5 s", "500 ms": plain numbers are seconds. Nothing for what is none.
std::optional<double> seconds_of(const std::string& lag) {
  const bool plain = !lag.empty() && lag.find_first_not_of("0123456789.") == std::string::npos;
  if (plain) return std::strtod(lag.c_str(), nullptr);
  const auto parsed = config::parse_duration(lag);
  if (!parsed) return std::nullopt;
  return std::chrono::duration<double>(*parsed).count();
}

HttpResponse health(const HttpRequest& request, const Known& known) {
  const auto name = request.parameter("group");
  std::optional<double> lag;
  if (const auto wanted = request.parameter("lag")) {
    lag = seconds_of(*wanted);
    if (!lag) return text(400, "lag is not a time, such as 5s");
  }
  std::string body;
  std::size_t groups = 0;
  unsigned code = known.troubles.empty() ? 200 : 503;
  for (const std::string& trouble : known.troubles) body += trouble + "\n";
  for (const GroupStatus& group : known.groups) {
    if (name && group.name != *name) continue;
    ++groups;
    std::string why;
    if (request.path == "/health/master")
      why = not_master(group);
    else if (request.path == "/health/slave")
      why = not_slave(group, lag);
    else if (!judge(group).good)
      why = line_of(group);
    if (!why.empty()) code = 503;
    body += (why.empty() ? line_of(group) : why) + "\n";
  }
  if (groups == 0 && known.troubles.empty()) return text(404, "there is no such group");
  body.pop_back();
  return text(code, std::move(body));
}

}  // namespace

HttpResponse respond(const HttpRequest& request, const Known& known) {
  const std::string& path = request.path;
  if (path == "/") return {200, "text/html; charset=utf-8", html_page(known)};
  if (path == "/status.json") return status_json(known);
  if (path == "/metrics") return {200, "text/plain; version=0.0.4; charset=utf-8", metrics(known)};
  if (path == "/health" || path == "/health/master" || path == "/health/slave")
    return health(request, known);
  return text(404, "there are /, /status.json, /metrics, /health, /health/master, /health/slave");
}

}  // namespace hotbackup::people
