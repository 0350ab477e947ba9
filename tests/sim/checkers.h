// SPDX-License-Identifier: Apache-2.0
// What must hold at every instant of a history, one class a rule. Each is told what happens and
// ends the history at the first breach. To add one: a class here, a call where it happens.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/sim/truth.h"

namespace hotbackup::sim {

/// A slave's journal is a prefix of the master's published history.
class PrefixChecker {
 public:
  PrefixChecker(World& world, const Truth& truth) : world_(world), truth_(truth) {}
  void journaled(const std::string& slave, UpdateNumber number, const ChainHash& chain) const {
    world_.require(number <= truth_.published(), "has what the master has not published (R2)",
                   slave, number.value, truth_.published().value);
    world_.require(chain == truth_.chain_at(number), "holds another history than its master (R3)",
                   slave, number.value);
  }

 private:
  World& world_;
  const Truth& truth_;
};

/// Numbers of a slave never go back: what it acknowledged, for ever; what readers were told, until
/// its power fails.
class PositionChecker {
 public:
  PositionChecker(World& world, std::string slave) : world_(world), slave_(std::move(slave)) {}
  void acknowledges(UpdateNumber journaled, UpdateNumber applied) {
    world_.require(journaled >= journaled_, "its acknowledged number goes back (R4)", slave_,
                   journaled.value, journaled_.value);
    world_.require(applied >= applied_, "its applied number goes back", slave_, applied.value,
                   applied_.value);
    world_.require(applied <= journaled, "it applies what it has not journaled", slave_,
                   applied.value, journaled.value);
    journaled_ = journaled;
    applied_ = applied;
  }
  /// After a restart it has this, or more than it ever promised.
  void recovered(UpdateNumber made) const {
    world_.require(made >= journaled_, "has lost what it acknowledged (R4)", slave_, made.value,
                   journaled_.value);
  }
  void power_lost() { applied_ = UpdateNumber(0); }
  void wiped() { journaled_ = applied_ = UpdateNumber(0); }
  UpdateNumber journaled() const { return journaled_; }

 private:
  World& world_;
  const std::string slave_;
  UpdateNumber journaled_;
  UpdateNumber applied_;
};

/// Readers of a copy see whole updates and never an older state than before (R5).
class ReaderChecker {
 public:
  ReaderChecker(World& world, const Truth& truth, std::string slave)
      : world_(world), truth_(truth), slave_(std::move(slave)), seen_(truth.environments()) {}
  /// What readers of this copy see now is everything through `number`.
  void sees(std::size_t environment, UpdateNumber number, const Content& content) {
    world_.require(number >= seen_[environment], "readers of a copy see time go back (R5)", slave_,
                   number.value, seen_[environment].value);
    world_.require(number <= truth_.published(), "a copy shows what is not published", slave_,
                   number.value, truth_.published().value);
    world_.require(content.digest == truth_.digest_at(number, environment),
                   "a copy differs from its master at this update (R5)", slave_, number.value,
                   environment);
    seen_[environment] = number;
  }
  /// Every copy shows `number`.
  void told(UpdateNumber number) const {
    for (const UpdateNumber seen : seen_)
      world_.require(seen >= number, "applied is said before every copy shows it (R4)", slave_,
                     number.value, seen.value);
  }
  /// A power loss took the readers, and put the copy back to this.
  void begin_again(std::size_t environment, UpdateNumber number) { seen_[environment] = number; }
  /// The copies were given up.
  void forget() { seen_.assign(seen_.size(), UpdateNumber(0)); }

 private:
  World& world_;
  const Truth& truth_;
  const std::string slave_;
  std::vector<UpdateNumber> seen_;
};

/// No segment goes that somebody with a claim still needs.
class PinChecker {
 public:
  explicit PinChecker(World& world) : world_(world) {}
  /// A seed or a stream begins behind this.
  void pins(const std::string& who, UpdateNumber has) { pins_[who] = has; }
  void moves(const std::string& who, UpdateNumber has) {
    if (const auto pin = pins_.find(who); pin != pins_.end())
      pin->second = std::max(pin->second, has);
  }
  void releases(const std::string& who) { pins_.erase(who); }
  void retires(UpdateNumber last) const {
    for (const auto& [who, has] : pins_)
      world_.require(last <= has, "a segment goes that somebody needs", who, last.value, has.value);
  }

 private:
  World& world_;
  std::map<std::string, UpdateNumber> pins_;  // has everything through
};

/// A slave whose history has a gap gets nothing but a seed.
class GapChecker {
 public:
  explicit GapChecker(World& world) : world_(world) {}
  void gap(const std::string& slave) { gaps_[slave] = true; }
  void seeds(const std::string& slave) { gaps_[slave] = false; }
  void streams(const std::string& slave, UpdateNumber from, UpdateNumber oldest) {
    world_.require(!gaps_[slave], "streams over a gap instead of a seed", slave, from.value);
    world_.require(from >= oldest, "streams from a number that is gone", slave, from.value,
                   oldest.value);
  }
  bool open(const std::string& slave) { return gaps_[slave]; }

 private:
  World& world_;
  std::map<std::string, bool> gaps_;
};

}  // namespace hotbackup::sim
