// SPDX-License-Identifier: Apache-2.0
// Keeps watch over a node for the people who look after it: one of its servers writes the permanent
// log of incidents, tells the notify list and serves the status page. Both servers have one of
// these; whichever holds a file lock under <state>/catalogue works, the other waits to take over.
// docs/decisions/0040-one-watch-a-node.md.
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "common/os/unique_fd.h"
#include "common/people/channel.h"
#include "common/people/group_watch.h"
#include "common/people/incident_log.h"
#include "common/people/pages.h"

namespace hotbackup::people {

/// Made and destroyed with one configuration. Everything happens on its own threads, which have
/// ended when the destructor returns; what goes wrong is logged and tried again.
class NodeWatch {
 public:
  explicit NodeWatch(config::Configuration configuration);
  ~NodeWatch();

  static constexpr std::chrono::minutes kPlotted{60};

 private:
  void run();
  bool wait(std::chrono::milliseconds time);  // false: stop
  Result<bool> take_lock();
  void follow_trace();
  void keep_watch();
  void look_at_groups(catalogue::Catalogue& catalogue, IncidentLog& log, WallTime now);
  void work_channels(catalogue::Catalogue& catalogue, IncidentLog& log, WallTime now);
  void note_history(catalogue::Catalogue& catalogue, WallTime now);
  void serve_page(WallTime now);
  HttpResponse answer(const HttpRequest& request);
  std::chrono::milliseconds settle_time(const std::string& group) const;

  const config::Configuration configuration_;
  os::UniqueFd lock_;
  bool traces_ = false;
  std::list<GroupWatch> groups_;
  std::map<std::string, WallTime> next_check_;
  std::list<Channel> channels_;
  std::vector<catalogue::IncidentRecord> untold_;  // not with every channel yet
  std::string log_trouble_;
  WallTime next_try_;  // to take the port of the status page
  std::string page_trouble_;

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;                               // guarded by mutex_
  History history_;                                 // guarded by mutex_
  Known known_;                                     // of the page's thread
  std::chrono::steady_clock::time_point known_at_;  // of the page's thread
  std::unique_ptr<HttpServer> page_;
  std::thread thread_;
};

}  // namespace hotbackup::people
