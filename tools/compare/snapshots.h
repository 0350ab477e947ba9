// SPDX-License-Identifier: Apache-2.0
// One node's side of the same number: read snapshots of all its environments, while work goes on.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "common/control/group.h"
#include "common/os/unique_fd.h"
#include "master/fetch_source.h"

namespace hotbackup::compare {

/// Holds the snapshots as long as it lives, and on a slave the applier as long as it is asked to.
/// One thread. Only in a process that has none of the group's environments open.
class Snapshots {
 public:
  explicit Snapshots(control::Group& group) : group_(group) {}
  ~Snapshots() { release(); }

  /// Slave: the applier stands still. kFenced where applying is paused, stopped or not served;
  /// kBusy while another comparison runs; kTimeout.
  Result<UpdateNumber> hold();
  /// Master: a cut. `pause`: writers wait from before it until release().
  Result<UpdateNumber> cut(bool pause = false);
  /// What the snapshots show is what is there still: writers, or the applier, were held all along.
  bool still_held();
  UpdateNumber number() const { return number_; }
  /// Slave: false while the copies do not show `number` yet; ask again soon, or the applier goes
  /// on. `keep`: the applier stands there until release().
  Result<bool> reach(UpdateNumber number, bool keep);
  /// Slave, kept there: applies what was collected, and is durable.
  Result<> collect(EnvironmentNumber environment, std::string_view body);
  Result<> repair();
  void release();

  const std::vector<master::CutEnvironment*>& environments() const { return environments_; }
  master::FetchSource* source() { return source_.get(); }

 private:
  Result<> may_hold();
  void ask_to_hold(UpdateNumber number);
  void renew();
  Result<> begin_all();
  void keep_holding();

  control::Group& group_;
  os::UniqueFd lock_;  // of the one comparison that holds the applier
  UpdateNumber number_;
  std::unique_ptr<master::FetchSource> source_;
  std::vector<std::unique_ptr<master::CutEnvironment>> own_;
  std::vector<master::CutEnvironment*> environments_;
  bool paused_ = false;  // the master's gate
  std::jthread keeper_;  // of what is held, while a report runs
  struct Repair;
  std::shared_ptr<Repair> repair_;
};

}  // namespace hotbackup::compare
