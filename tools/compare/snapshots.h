// SPDX-License-Identifier: Apache-2.0
// One node's side of the same number: read snapshots of all its environments, while work goes on.
#pragma once

#include <memory>
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
  /// Master: a cut.
  Result<UpdateNumber> cut();
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

  control::Group& group_;
  os::UniqueFd lock_;  // of the one comparison that holds the applier
  UpdateNumber number_;
  std::unique_ptr<master::FetchSource> source_;
  std::vector<std::unique_ptr<master::CutEnvironment>> own_;
  std::vector<master::CutEnvironment*> environments_;
  std::uint64_t repair_bytes_ = 0;
  struct Repair;
  std::shared_ptr<Repair> repair_;
};

}  // namespace hotbackup::compare
