// SPDX-License-Identifier: Apache-2.0
// A node becomes master, step by step. DESIGN section 9; docs/operating/roles.md.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "common/control/apply_decisions.h"
#include "common/roles/peers.h"

namespace hotbackup::roles {

struct Step {
  std::string name;
  double milliseconds = 0;
};

/// What was done, and how long each took.
class Steps {
 public:
  Steps() : last_(std::chrono::steady_clock::now()) {}
  void done(std::string name);
  const std::vector<Step>& all() const { return steps_; }
  void add(std::vector<Step> steps) { steps_.insert(steps_.end(), steps.begin(), steps.end()); }

 private:
  std::chrono::steady_clock::time_point last_;
  std::vector<Step> steps_;
};

/// One change of this node's role. While it lives no other command changes it; when it goes, a
/// slave server that had given the group up takes it again, unless the node is master by then, and
/// what people decided about applying holds again. Blocks.
class Change {
 public:
  /// kBusy while another command is at it.
  static Result<std::unique_ptr<Change>> begin(const Here& here);
  ~Change();

  /// No master is answered from now on; a session that runs ends, with what it has received in the
  /// journal. kTimeout when the slave server does not react.
  Result<> refuse_calls();
  /// Until every copy shows what is journaled, whatever the delay. kFenced with the command to type
  /// while applying is paused, has stopped, or no slave server runs.
  Result<> apply_everything();
  /// Until every copy shows update `last`, and nothing later: applying is paused there. kFenced
  /// also when they show more.
  Result<> apply_no_further(UpdateNumber last);
  /// The slave server closes the copies.
  Result<> let_go();
  /// What the journal holds behind update `last`, which no copy shows, becomes orphans: updates
  /// that the group's history goes on without. After let_go().
  Result<> cut_after(UpdateNumber last, const std::string& master);
  /// The epoch, and a baseline of each environment, durably in the journal.
  Result<> write_epoch(const Epoch& epoch);
  /// What the peers have for sure, so that the journal is kept for them.
  Result<> claim_for(const std::string& peer, UpdateNumber number);

 private:
  explicit Change(const Here& here) : here_(here) {}
  Result<> request(control::ChangePhase phase, const std::function<bool()>& done,
                   const std::string& late);

  Result<> decide(std::optional<bool> paused, UpdateNumber through);
  Result<> wait_applied(UpdateNumber number, bool may_pause);

  const Here here_;
  std::optional<control::ApplyDecisions> decided_;  // before this change decided otherwise
};

/// XXH3 over (checksum, void word) of every frame of updates `from` … `through`: two nodes that
/// agree in it and in the chain hash agree in what was voided, too.
Result<std::uint64_t> published_hash(control::Group& group, UpdateNumber from,
                                     UpdateNumber through);
/// Over the content of every environment of the group, in number order; keep-local items left out.
Result<std::uint64_t> content_hash(control::Group& group);

}  // namespace hotbackup::roles
