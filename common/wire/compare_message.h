// SPDX-License-Identifier: Apache-2.0
// Questions and answers of a comparison as plain structures, and their bytes: the bodies of Ask and
// Answer of kind kCompare. What they mean is proto/hotbackup.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/base/ids.h"

namespace hotbackup::wire {

struct CompareAsk {
  enum class Kind : std::uint32_t {
    kHold = 0,
    kCut = 1,
    kSnapshot = 2,
    kDatabases = 3,
    kHash = 4,
    kNodes = 5,
    kCollect = 6,
    kItems = 7,
    kReveal = 8,
    kFetch = 9,
    kRepair = 10,
    kRelease = 11,
    kClean = 12,
    kFound = 13,
    kEcho = 14,
    kReport = 15,
  };
  Kind kind = Kind::kHold;
  UpdateNumber number = {};
  bool hold = false;
  std::uint64_t from = 0;
  EnvironmentNumber environment = {};
  bool main = false;
  std::string name = {};
  std::uint32_t bits = 0;
  std::uint32_t level = 0;
  std::string body = {};
  bool last = false;
  std::string text = {};
};

struct ComparedDatabase {
  EnvironmentNumber environment;
  std::string environment_name;
  bool main = false;
  std::string name;
  std::uint32_t flags = 0;
  std::uint64_t items = 0;
};

struct CompareAnswer {
  bool more = false;
  UpdateNumber number;
  std::uint64_t items = 0;
  std::uint64_t local = 0;
  std::uint64_t bytes = 0;
  std::string body;
  std::vector<ComparedDatabase> databases;
};

std::string encode(const CompareAsk& ask);
Result<CompareAsk> decode_compare_ask(std::string_view bytes);
/// An error travels with its code and text.
std::string encode(const Result<CompareAnswer>& answer);
Result<CompareAnswer> decode_compare_answer(std::string_view bytes);

}  // namespace hotbackup::wire
