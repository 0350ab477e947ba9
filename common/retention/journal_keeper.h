// SPDX-License-Identifier: Apache-2.0
// Keeps a group's journal within its rules: moves the slaves' claims on, lets segments go that
// nobody needs, and does at the limit what was configured. docs/operating/journal.md.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "common/retention/rules.h"

namespace hotbackup::retention {

/// Lives on its server's housekeeping thread; every call may block for the disk. Borrows the group.
/// What it promises: no segment goes before every slave that has a claim acknowledged all of it,
/// the archive took it, and every environment's data file was synced after its last update.
class JournalKeeper {
 public:
  /// Makes what was written to an environment's data file durable; replaced by tests.
  using SyncFile = std::function<Result<>(const std::string& path)>;

  JournalKeeper(control::Group& group, Rules rules, SyncFile sync_file = sync_data_file);

  /// Puts the limit where programs under capture find it, also after a reboot.
  Result<> publish_limit();
  /// Once a check period. Names of slaves whose claim the limit took: their links are to end.
  Result<std::vector<std::string>> tidy();

  /// On a slave at its limit: the copies are to be made durable as far as they are applied. They
  /// are only now and then, and that is what the journal is kept for.
  bool wants_durable_copies() const { return wants_durable_copies_; }

  static Result<> sync_data_file(const std::string& path);

 private:
  Result<> advance_claims();
  /// Retires the oldest segment if nothing needs it; false when something does, or age keeps it.
  Result<bool> retire_oldest(const std::vector<Segment>& segments, bool though_young);
  Result<> make_durable(UpdateNumber through);
  Result<> keep_to_limit(std::vector<Segment>& segments, std::vector<std::string>& forgotten);
  Result<Hold> holds_most() const;
  bool streams(std::string_view peer) const;
  Result<> forget_slave(const Hold& most, std::vector<std::string>& forgotten);
  Result<> tidy_spares(const std::vector<Segment>& segments);
  void tell_at_limit(const std::vector<Segment>& segments);
  bool has_room(const std::vector<Segment>& segments) const;

  control::Group& group_;
  const Rules rules_;
  const SyncFile sync_file_;
  UpdateNumber durable_;            // in every environment's data file
  std::set<std::string> unsynced_;  // data files whose sync failed: never believed again
  bool wants_durable_copies_ = false;
  std::string told_;  // what the limit's incident says
};

}  // namespace hotbackup::retention
