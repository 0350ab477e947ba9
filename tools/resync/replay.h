// SPDX-License-Identifier: Apache-2.0
// Updates from a journal's frames into environments that nobody serves: a restore to a point in
// time, a warm standby from volumes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/journal/frame.h"
#include "common/update/codec.h"
#include "slave/copies.h"

namespace hotbackup::resync {

/// Which operations count; empty: all.
struct Selection {
  std::vector<std::string> environments;
  std::optional<std::string> database;  // "" is the main one
  std::optional<std::string> key;
  bool all() const { return environments.empty() && !database && !key; }
  bool takes(const update::Operation& operation) const;
};

/// Whole updates, in order, in transactions of many; operations are absolute, so that a range may
/// be done again. One thread.
class Replay {
 public:
  struct Place {
    std::string path;
    bool subdirectory = false;
  };
  /// Makes the place of an environment that the journal describes; nothing: it is left out.
  using Add = std::function<Result<std::optional<Place>>(const update::EnvironmentBody&)>;

  Replay(Add add, Selection selection) : add_(std::move(add)), selection_(std::move(selection)) {}
  void know(EnvironmentNumber number, Place place) { places_[number] = std::move(place); }

  /// Checked already: number, chain, body. Applied when its update is whole and not void.
  Result<> frame(const journal::FrameView& frame);
  /// Everything so far is durable when it returns.
  Result<> flush();
  std::uint64_t updates() const { return updates_; }

 private:
  struct Waiting {
    EnvironmentNumber environment;
    std::string body;
  };
  Result<> apply_waiting();
  Result<> apply_once();
  Result<slave::Copy*> open(EnvironmentNumber number);

  const Add add_;
  const Selection selection_;
  std::map<EnvironmentNumber, Place> places_;
  std::map<EnvironmentNumber, std::unique_ptr<slave::Copy>> open_;
  std::vector<Waiting> update_;   // the one that is not whole yet
  std::vector<Waiting> waiting_;  // whole ones, not applied yet
  std::size_t waiting_bytes_ = 0;
  EnvironmentNumber full_;
  std::uint64_t updates_ = 0;
};

}  // namespace hotbackup::resync
