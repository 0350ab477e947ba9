// SPDX-License-Identifier: Apache-2.0
// What master and slave have in common: a disk, the shared memory of a boot with the journal's tail
// in it, processes that end in the middle of a call, and power that fails.
#pragma once

#include <memory>
#include <string>

#include "common/journal/journal.h"
#include "common/journal/reader.h"
#include "tests/sim/network.h"
#include "tests/sim/world.h"
#include "tests/support/sim_disk.h"

namespace hotbackup::sim {

inline constexpr std::uint64_t kSegmentBytes = 16 * 1024;
inline constexpr char kJournal[] = "journal";
inline constexpr char kState[] = "state";

GroupId the_group();
inline Epoch the_epoch() {
  return {1, NodeId(7)};
}

class Machine {
 public:
  Machine(World& world, Network& network, int number, std::string name);
  virtual ~Machine() = default;

  const std::string& name() const { return name_; }
  int number() const { return number_; }
  NodeId node_id() const { return NodeId(7 + static_cast<std::uint64_t>(number_)); }
  test::SimDisk& disk() { return disk_; }
  bool up() const { return up_; }
  std::uint64_t power_losses() const { return power_losses_; }
  std::uint64_t ended_processes() const { return ended_processes_; }

  /// The process that makes the `calls`-th change to the disk from now ends in it, or the power of
  /// the whole machine fails there.
  void end_in_call(std::uint64_t calls, bool power);
  /// At once.
  void lose_power();
  /// After a failed sync that the journal could not get over: it waits for a person.
  bool journal_stopped() const { return tail_ != nullptr && tail_->failed.load() != 0; }

 protected:
  enum class Ran { kWhole, kEnded, kNoPower };
  /// Runs a piece of one process. kEnded: it ended inside; what it held is as a dead process leaves
  /// it. kNoPower: lose_power() was called, everything has ended.
  Ran run(const std::function<void()>& piece);

  /// All processes end without a word, memory is gone.
  virtual void on_power_loss() = 0;
  virtual void boot() = 0;

  /// New shared memory from the journal, as the first process of a boot makes it.
  Result<journal::RecoveredTail> recover();
  void fill_tail(const journal::RecoveredTail& found);
  os::Directory& directory() { return *directory_; }
  /// Whether a power loss now would leave the journal this position for sure.
  void require_durable(UpdateNumber number, const ChainHash& chain, std::string_view rule);

  World& world_;
  Network& network_;
  const int number_;
  const std::string name_;
  test::SimDisk disk_;
  std::unique_ptr<os::Directory> directory_;  // of the journal; of this boot
  std::unique_ptr<journal::SharedTail> tail_;
  bool up_ = true;
  std::uint64_t boots_ = 0;  // events of an earlier boot do nothing

 private:
  bool power_ = false;  // what end_in_call asked for
  std::uint64_t power_losses_ = 0;
  std::uint64_t ended_processes_ = 0;
};

}  // namespace hotbackup::sim
