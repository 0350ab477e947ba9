// SPDX-License-Identifier: Apache-2.0
// What LMDB should hold, as plain sorted maps and sets: the measure of the property test.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/unit/capture/group_fixture.h"

namespace hotbackup::test {

/// LMDB's orders: bytes, bytes from the end, native integers.
struct Order {
  enum class Kind { kBytes, kReverse, kInteger } kind = Kind::kBytes;
  bool operator()(const std::string& a, const std::string& b) const;
};

class ModelDatabase {
 public:
  explicit ModelDatabase(unsigned flags);

  unsigned flags() const { return flags_; }
  bool has_duplicates() const { return (flags_ & MDB_DUPSORT) != 0; }
  using Values = std::set<std::string, Order>;
  const std::map<std::string, Values, Order>& items() const { return items_; }

  // The code LMDB is due to return; the model changes as LMDB should.
  int put(const std::string& key, const std::string& value, unsigned flags);
  int put_multiple(const std::string& key, const std::vector<std::string>& values, unsigned flags,
                   std::size_t& stored);
  int remove(const std::string& key);
  int remove(const std::string& key, const std::string& value);
  void clear() { items_.clear(); }
  DatabaseContent content() const;

 private:
  unsigned flags_;
  Order value_order_;
  std::map<std::string, Values, Order> items_;
};

/// All databases of an environment, "" is main; copied to begin a transaction.
using Model = std::map<std::string, ModelDatabase>;
Content content_of(const Model& model);

}  // namespace hotbackup::test
