// SPDX-License-Identifier: Apache-2.0
// Turns what lies in the groups' incident tables at a moment into a history: raised, how often,
// cleared. Kept in the catalogue, so that it outlives servers and reboots.
#pragma once

#include <map>
#include <set>
#include <tuple>

#include "common/catalogue/catalogue.h"
#include "common/control/incident_table.h"

namespace hotbackup::people {

/// Lives on the thread of the watch; borrows the catalogue. Where the catalogue cannot be written
/// (a full disk) it goes on in memory and tries again at the next change.
class IncidentLog {
 public:
  explicit IncidentLog(catalogue::Catalogue& catalogue) : catalogue_(catalogue) {}
  /// What was open when the last watch ended, and what it had seen.
  Result<> resume();

  /// `recent` as IncidentTable has it. An incident that was raised, cleared or changed since the
  /// last look is in `changes` afterwards.
  void look(const std::string& group, const std::vector<control::Incident>& recent, WallTime now);

  std::vector<catalogue::IncidentRecord> take_changes() { return std::exchange(changes_, {}); }
  /// The notify list knows of it: not to be told again by the next watch.
  void note_told(catalogue::IncidentRecord incident);
  /// Why the catalogue could not be written last time; empty when it could.
  const std::string& trouble() const { return trouble_; }

 private:
  using Key = std::tuple<std::string, std::string, std::string>;  // group, code, subject
  void keep(catalogue::IncidentRecord& incident);
  void raise(const Key& key, const control::Incident& incident, WallTime now);
  void clear(std::map<Key, catalogue::IncidentRecord>::iterator at, WallTime now);

  catalogue::Catalogue& catalogue_;
  std::map<Key, catalogue::IncidentRecord> open_;
  std::map<Key, WallTime> last_seen_;  // begin of the last one of its kind that is in the log
  std::vector<catalogue::IncidentRecord> changes_;
  std::string trouble_;
};

}  // namespace hotbackup::people
