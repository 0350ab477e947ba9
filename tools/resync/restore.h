// SPDX-License-Identifier: Apache-2.0
// A save's environments, built beside their places and put there when the whole of it has proved
// right.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "slave/seed_target.h"
#include "tools/resync/carried_files.h"
#include "tools/resync/history.h"
#include "tools/resync/replay.h"

namespace hotbackup::resync {

struct Place {
  std::string path;
  update::KeepLocalRules rules;  // of this site: what they keep stays
};

struct RestoreWay {
  /// Where an environment goes; the other is what the save says of itself.
  std::function<Result<Place>(const update::EnvironmentBody&, const Json&)> place;
  bool replace = false;  // existing items go aside; else kRefused
  std::string aside;     // suffix of what is kept aside: PATH.replaced-SUFFIX
  std::vector<std::pair<std::string, std::string>> owners;  // there, here
  std::string files_root;  // where carried files go; "": where they came from
  std::string filter;
};

struct Restored {
  struct Environment {
    update::EnvironmentBody body;
    std::string path;
    std::string aside;            // where what was there is now; "": nothing was
    std::vector<pid_t> programs;  // that had it open
  };
  Json head;
  Json end;
  Position position;
  std::vector<Environment> environments;
  std::uint64_t items = 0;    // of the save
  std::uint64_t updates = 0;  // replayed
  std::size_t files = 0;
  std::string content_hash;  // of the save, where nothing was replayed
};

/// Nothing that was there has changed when it fails before the last step; the places are looked at
/// first.
class Restore {
 public:
  explicit Restore(RestoreWay way) : way_(std::move(way)) {}

  /// All of it.
  Result<Restored> run(const Chain& chain, const Target& target);

 private:
  Result<> build(const Chain& chain);
  Result<> take(const Block& block);
  Result<slave::SeedTarget*> add(update::EnvironmentBody body);
  Result<> replay(const Chain& chain, const Target& target);
  Result<> place_all();
  Result<std::string> keep_aside(Restored::Environment& environment);

  const RestoreWay way_;
  std::map<EnvironmentNumber, std::unique_ptr<slave::SeedTarget>> targets_;
  std::map<EnvironmentNumber, Place> places_;
  EnvironmentNumber left_out_;  // hotbackup's own: test updates are nobody's data
  std::unique_ptr<CarriedFiles> files_;
  Restored restored_;
};

}  // namespace hotbackup::resync
