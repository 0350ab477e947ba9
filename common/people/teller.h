// SPDX-License-Identifier: Apache-2.0
// Decides when one entry of the notify list hears of what: soon, grouped, never flooded, never kept
// in silence. Pure: incidents and the time in, messages out. docs/operating/notify.md.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "common/catalogue/catalogue.h"
#include "common/config/configuration.h"

namespace hotbackup::people {

/// One incident as a message tells it.
struct Notice {
  catalogue::IncidentRecord incident;
  bool cleared = false;
  bool reminder = false;    // it has been open for long
  std::uint64_t times = 1;  // raised since its last all-clear
};

/// Lives on the thread of the watch.
class Teller {
 public:
  explicit Teller(config::Notify entry) : entry_(std::move(entry)) {}

  const config::Notify& entry() const { return entry_; }

  /// Of any group and severity; what is not for this entry is left out. `settle`: it counts as over
  /// after it has been away this long.
  void note(const catalogue::IncidentRecord& incident, std::chrono::milliseconds settle,
            WallTime now);
  /// One known from before: open and told.
  void resume(const catalogue::IncidentRecord& incident, WallTime now);

  /// The next message, as a list of notices; empty when nothing is due.
  std::vector<Notice> take(WallTime now);
  /// Something about this incident waits to be told.
  bool waits(const catalogue::IncidentRecord& incident) const;

  // A first message waits this long for others that belong to the same fault.
  static constexpr std::chrono::milliseconds kGather{300};
  // Messages about one cause that may follow each other at once; one more each kCauseRefill.
  static constexpr double kCauseBurst = 3;
  static constexpr std::chrono::minutes kCauseRefill{10};
  // The same for all messages to this entry.
  static constexpr double kBurst = 20;
  static constexpr std::chrono::minutes kRefill{1};
  static constexpr std::chrono::hours kReminder{24};

 private:
  /// So many at once, then one each period.
  struct Bucket {
    double tokens;
    WallTime at{};
    void refill(double burst, std::chrono::nanoseconds period, WallTime now);
  };
  struct Cause {
    catalogue::IncidentRecord incident;  // the latest
    bool open = false;
    bool told_open = false;
    std::uint64_t raised = 0;  // since the last all-clear that was told
    WallTime due{};
    WallTime told_at{};
    Bucket bucket{kCauseBurst};
    /// Something to say: it is not as last told, or came and went since.
    bool news() const { return open != told_open || (!open && raised != 0); }
  };
  using Key = std::tuple<std::string, std::string, std::string>;

  bool is_for_us(const catalogue::IncidentRecord& incident) const;
  bool due(Cause& cause, WallTime now);

  const config::Notify entry_;
  std::map<Key, Cause> causes_;
  Bucket bucket_{kBurst};
};

}  // namespace hotbackup::people
