// SPDX-License-Identifier: Apache-2.0
// Frame bodies to and from bytes with protozero, after proto/hotbackup.proto. The capture library
// writes them inside other people's programs, so this is free of libprotobuf.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/update/keep_local.h"
#include "common/update/operation.h"

namespace hotbackup::update {

/// Values longer than this travel as kPutLarge and kValuePart operations.
inline constexpr std::size_t kValuePartBytes = 256 * 1024;
/// A body is closed when it reaches this size; see journal::kBodyBytesMax for the hard limit.
inline constexpr std::size_t kBodyBytesTarget = 256 * 1024;
/// LMDB's default key limit; longer keys are damage.
inline constexpr std::size_t kKeyBytesMax = 65535;

/// Writes one body by appending to a caller's string. Knows which databases this body has named.
/// `Database::name` views are compared by content, so they may move between calls.
class BodyWriter {
 public:
  explicit BodyWriter(std::string& out) : out_(out) {}

  /// Values of kPut must not exceed kValuePartBytes. For kPutLarge, value is ignored.
  void add(const Operation& operation);
  /// Forgets which databases were named: the next operation begins a new body.
  void start_body() { named_.clear(); }

 private:
  std::uint32_t index_of(const Database& database);

  struct Named {
    bool main;
    std::uint32_t flags;
    std::string name;
  };
  std::string& out_;
  std::vector<Named> named_;
};

/// Calls visit for each operation in order. Stops with the error of visit, or with kCorrupt where
/// the bytes are not a body: unknown kind, database not named before, lengths that do not fit.
Result<> read_body(std::string_view body, const std::function<Result<>(const Operation&)>& visit);

struct EnvironmentBody {
  EnvironmentNumber number;
  std::string name;
  std::string configured;
  std::string match;
  bool subdirectory = true;
  std::uint64_t map_bytes = 0;
  std::uint32_t mode = 0;
  std::string owner;
};
std::string write_environment(const EnvironmentBody& environment);
Result<EnvironmentBody> read_environment(std::string_view body);

struct BaselineBody {
  NodeId node;
  EnvironmentNumber environment;
  TxnId txnid;
};
std::string write_baseline(const BaselineBody& baseline);
Result<BaselineBody> read_baseline(std::string_view body);

struct EpochBody {
  Epoch epoch;
  std::string node_name;
};
std::string write_epoch(const EpochBody& epoch);
Result<EpochBody> read_epoch(std::string_view body);

std::string write_rules(const std::vector<EnvironmentRules>& rules);
/// kCorrupt also for a rule that is none.
Result<std::vector<EnvironmentRules>> read_rules(std::string_view body);

}  // namespace hotbackup::update
