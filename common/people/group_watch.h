// SPDX-License-Identifier: Apache-2.0
// What one group's state calls for, beside what its servers notice themselves: a link that is down,
// a server that does not run, more exposed than the objective, a disk that fills up.
#pragma once

#include <memory>

#include "common/catalogue/catalogue.h"
#include "common/status/group_status.h"

namespace hotbackup::people {

/// Incidents that follow from a status, by code and subject; pure.
struct Finding {
  std::string code;
  std::string subject;
  std::string text;
};
/// `since`: when the watch began; a link that was never heard counts from then.
std::vector<Finding> judge_state(const status::GroupStatus& status, const config::Group& settings,
                                 WallTime since);
/// The codes that judge_state may give: raised and cleared by the watch alone.
std::span<const std::string_view> state_codes();

/// A point of the plot.
struct Point {
  WallTime time;
  double lag_seconds = 0;
  double exposure_seconds = 0;
  std::uint64_t published = 0;
};

/// Lives on the thread of the watch.
class GroupWatch {
 public:
  GroupWatch(const config::Configuration& configuration, const config::Group& settings)
      : configuration_(configuration), settings_(settings), began_(wall_now()) {}

  const config::Group& settings() const { return settings_; }
  /// The incident table's content; nothing where the group is not initialised.
  std::vector<control::Incident> incidents();
  /// Once a check period: raises and clears, and notes lag and roles in the catalogue.
  void check(catalogue::Catalogue& catalogue, WallTime now);
  /// Raises or clears one of the watch's own.
  void set(std::string_view code, std::string_view subject, const std::string& trouble);

  /// The minute that has begun: before the watch ends. The next watch goes on with it.
  void keep_minute(catalogue::Catalogue& catalogue);

  std::optional<Point> last_point() const { return last_point_; }

 private:
  control::Group* group();
  void keep_history(catalogue::Catalogue& catalogue, const status::GroupStatus& status);

  const config::Configuration& configuration_;
  const config::Group& settings_;
  const WallTime began_;
  std::unique_ptr<control::Group> group_;
  ino_t control_inode_ = 0;
  catalogue::Sample minute_;
  std::optional<catalogue::RoleRecord> role_;
  std::optional<Point> last_point_;
};

}  // namespace hotbackup::people
