// SPDX-License-Identifier: Apache-2.0
// Makes, verifies and removes what [group.saves] asks for. What is due follows from the files;
// schedule.h decides it.
#pragma once

#include <set>

#include "tools/hotbackup/command.h"
#include "tools/resync/found.h"
#include "tools/resync/schedule.h"

namespace hotbackup::resync {

/// <group>/saves-plan.json: when to look again, and what the files do not say.
struct SavesPlan {
  std::int64_t since_ns = 0;
  std::int64_t next_ns = 0;
  double full_seconds = 0;  // of the last full save with its verification
  struct Place {
    std::int64_t full_failed_ns = 0;
    std::int64_t differential_ns = 0;
    std::string full_problem;
    std::string volume_problem;
    std::string old_problem;  // of the save before the newest
  };
  std::map<std::string, Place> places;
};
std::string plan_path(const std::string& group_directory);
/// An empty one where there is none, or it is damaged: it is only a memory.
SavesPlan read_plan(const std::string& group_directory);

/// The places of `into` with this group's files.
std::vector<SavePlace> look_at_places(const config::Saves& saves, const std::string& group_id,
                                      const SavesPlan& plan);

class Saver {
 public:
  explicit Saver(cli::OpenGroup& opened);
  ~Saver();

  /// Once: does what is due. kCancelled when it was asked to stop.
  Result<> run();
  /// Nothing failed.
  bool well() const { return well_; }

 private:
  class Tee;
  class Watch;
  Result<> work();
  void clear_all();
  void tidy();
  void look();
  Result<> make_full(const std::vector<std::size_t>& due);
  Result<> prove_full(const std::vector<std::size_t>& made, const std::string& name);
  Result<> read_again(std::size_t place, const std::string& newest);
  Result<> make_volumes(std::size_t place);
  Result<Position> volumes_from(std::size_t place, std::string& predecessor) const;
  void remove_old();
  void tell();
  Result<> write_plan();
  void failed(std::size_t place, std::string& where, const std::string& what);
  std::string trial_in(const std::string& place) const {
    return place + "/.trial-" + settings_.name;
  }
  SavesPlan::Place& memory(std::size_t place) { return plan_.places[places_[place].path]; }

  cli::OpenGroup& opened_;
  control::Group& group_;
  const config::Group& settings_;
  const config::Saves& saves_;
  const std::string group_id_;
  SavesPlan plan_;
  std::vector<SavePlace> places_;
  bool waiting_ = false;  // what is due cannot be done now; that is no failure
  bool well_ = true;
};

}  // namespace hotbackup::resync
