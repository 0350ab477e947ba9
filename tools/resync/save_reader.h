// SPDX-License-Identifier: Apache-2.0
// Reads a save and proves it: every block, every frame, and that the items are those whose digest
// its end names.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "common/lmdb/content_digest.h"
#include "common/update/codec.h"
#include "tools/resync/container.h"
#include "tools/resync/frames.h"

namespace hotbackup::resync {

/// Checks what a save's blocks say, in order.
class SaveCheck {
 public:
  static Result<std::unique_ptr<SaveCheck>> begin(const Json& head);
  /// kCorrupt for what no save holds.
  Result<> block(const Block& block);
  /// Against what the save's end says.
  Result<> end(const Json& end) const;

 private:
  explicit SaveCheck(const GroupId& group)
      : sequence_(group, UpdateNumber(1), journal::chain_before_all(group)) {}
  Result<> frame(const journal::FrameView& frame);
  Result<> operation(EnvironmentNumber environment, const update::Operation& operation);

  journal::FrameSequence sequence_;
  std::vector<update::EnvironmentBody> environments_;
  std::map<EnvironmentNumber, lmdb::ContentDigest> digests_;
  lmdb::ItemDigest digest_;
  std::string large_key_;
  std::string large_value_;
  std::uint64_t large_left_ = 0;
  std::uint64_t frames_ = 0;
  std::uint64_t items_ = 0;
};

/// A save's blocks, checked on a thread of its own. Nothing behind the last one, when the whole
/// save has proved right; kCorrupt as soon as something is not.
class SaveReader {
 public:
  static Result<std::unique_ptr<SaveReader>> open(const std::string& path,
                                                  const std::string& filter);
  ~SaveReader();
  const Json& head() const { return reader_->head().text; }
  Result<std::optional<Block>> next();
  /// After next() has given nothing.
  const Json& end() const { return reader_->end(); }

 private:
  SaveReader() = default;
  void run();
  Result<std::optional<Block>> read();

  std::unique_ptr<ContainerReader> reader_;
  std::unique_ptr<SaveCheck> check_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::deque<Result<std::optional<Block>>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace hotbackup::resync
