// SPDX-License-Identifier: Apache-2.0
// What the status address answers. Pure: what is known in, an answer out.
// docs/operating/status-page.md.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "common/catalogue/catalogue.h"
#include "common/people/group_watch.h"
#include "common/people/http_server.h"
#include "common/status/group_status.h"

namespace hotbackup::people {

/// What the status page shows beside the status itself.
struct History {
  std::map<std::string, std::deque<Point>> points;   // by group, oldest first
  std::vector<catalogue::IncidentRecord> incidents;  // newest first
};

struct Known {
  std::string node;
  WallTime now;
  std::vector<status::GroupStatus> groups;
  std::vector<std::string> troubles;  // of groups that cannot be read
  History history;
};

/// /, /status.json, /metrics, /health, /health/master, /health/slave; else 404.
HttpResponse respond(const HttpRequest& request, const Known& known);

/// Prometheus text format, version 0.0.4.
std::string metrics(const Known& known);
/// Whole and self-contained; refreshes itself.
std::string html_page(const Known& known);

}  // namespace hotbackup::people
