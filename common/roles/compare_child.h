// SPDX-License-Identifier: Apache-2.0
// This node's side of a comparison that another node runs: a process of its own, since liblmdb
// opens a file once in a process and the slave server has the copies open.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/roles/peers.h"

namespace hotbackup::roles {

class CompareChild;

/// The comparisons that go on. One thread at a time asks.
class CompareChildren {
 public:
  CompareChildren();
  ~CompareChildren();

  /// Hands the bytes of a wire::CompareAsk on, starting `hotbackup compare-side GROUP` for a new
  /// token, and returns the answer's. A process that nobody asks anything for a minute ends.
  Result<std::string> ask(const Here& here, std::uint64_t token, const std::string& body);

 private:
  static constexpr std::size_t kChildrenMax = 4;
  std::mutex mutex_;
  std::map<std::uint64_t, std::unique_ptr<CompareChild>> children_;
};

/// Bytes with their length (4, little-endian) in front, over a stream; one side at a time speaks.
/// kDisconnected at the end of the stream, kTimeout when nothing has come for so long.
Result<> write_block(int fd, const std::string& bytes);
Result<std::string> read_block(int fd, std::chrono::milliseconds limit);

/// How long a side waits for the next question.
inline constexpr std::chrono::milliseconds kCompareIdle{60'000};

/// The program `hotbackup` that belongs to this one.
Result<std::string> administration_program();

}  // namespace hotbackup::roles
