// SPDX-License-Identifier: Apache-2.0
// A full save: every environment of a group at one update number.
#pragma once

#include "common/config/configuration.h"
#include "common/control/group.h"
#include "common/lmdb/content_digest.h"
#include "tools/resync/container.h"

namespace hotbackup::resync {

struct SaveLimits {
  /// Growth of the data files while the save reads them; 0: half of the free space there.
  std::uint64_t growth_bytes_max = 0;
};

struct SaveReport {
  Json head;
  Json end;
  std::uint64_t bytes = 0;
};

/// What `save` and `--dry-run` print of a group before anything is read.
struct SavePlan {
  Position position;
  std::uint64_t items = 0;
  std::uint64_t bytes = 0;  // in use in the data files
};

/// The cut of a group, held until it is destroyed. Only one at a time on a node: kFenced otherwise.
class Save {
 public:
  static Result<std::unique_ptr<Save>> begin(control::Group& group, const config::Group* settings);
  ~Save();

  const SavePlan& plan() const { return plan_; }
  /// GROUP-NUMBER-TIME.hbs
  std::string file_name() const;
  /// Once. The sink is not finished.
  Result<SaveReport> write(Sink& sink, const SaveLimits& limits);

 private:
  Save();
  Json head() const;
  Result<> check_growth(const SaveLimits& limits);

  struct State;
  std::unique_ptr<State> state_;
  SavePlan plan_;
};

/// Names a content whatever the node, the page layout and the order of databases.
std::string content_hash(const std::vector<std::string>& environments,
                         const std::vector<lmdb::ContentDigest>& digests);
/// As a save's end lists them.
Json describe(const lmdb::ContentDigest& digest);

Json epoch_json(const Epoch& epoch);
Epoch epoch_of(const Json& json);

}  // namespace hotbackup::resync
