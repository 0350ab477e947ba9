// SPDX-License-Identifier: Apache-2.0
// The master's side of a seed: read snapshots of all environments at one update number.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/control/group.h"
#include "common/lmdb/content_digest.h"
#include "common/update/codec.h"

namespace hotbackup::master {

/// Lives on one thread at a time (it may move between calls); blocks on the disk. While it lives
/// its snapshots keep LMDB from using freed pages again, so it should not wait for ever on a peer.
/// Only one at a time in a process for one group: the second gets kBusy.
class SeedSource {
 public:
  /// Takes the cut: under the group's journal lock, with no commit slot open. kBusy when a slot
  /// stays open for `wait` (the text names environment and pid) or another seed is running here.
  /// Environments are those that have joined and have a data file.
  static Result<std::unique_ptr<SeedSource>> cut(
      control::Group& group, std::chrono::milliseconds wait = std::chrono::seconds(10));
  ~SeedSource();

  /// Where the stream goes on after the seed. Published: the journal is synced through it.
  const Position& position() const { return position_; }
  const std::vector<update::EnvironmentBody>& environments() const { return environments_; }
  /// Items of all databases, about: for progress.
  std::uint64_t items() const { return items_; }
  /// Items given out so far; at the end, what SeedEnd says. Keep-local ones are not among them.
  std::uint64_t given() const { return given_; }

  /// From here on the content is hashed as it is given out: keep-local items are not in it.
  void hash_content() { hashing_ = true; }
  /// Of the environments, in their order; whole when next() has said that all is given out.
  const std::vector<lmdb::ContentDigest>& digests() const { return digests_; }
  /// Bytes by which data files have grown since the cut, as far as they are still held.
  std::uint64_t growth() const;

  struct Part {
    EnvironmentNumber environment;
    std::string body;  // about update::kBodyBytesTarget
  };
  /// The next part; false at the end.
  Result<bool> next(Part& part);

 private:
  struct Walk;
  SeedSource();
  Result<> count_items();

  Position position_;
  std::vector<update::EnvironmentBody> environments_;
  std::uint64_t items_ = 0;
  std::uint64_t given_ = 0;
  std::vector<std::unique_ptr<Walk>> walks_;
  std::size_t current_ = 0;
  bool hashing_ = false;
  std::vector<lmdb::ContentDigest> digests_;
};

}  // namespace hotbackup::master
