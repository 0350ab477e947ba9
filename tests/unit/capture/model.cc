// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/capture/model.h"

#include <algorithm>
#include <cstring>

namespace hotbackup::test {
namespace {

std::uint64_t integer(const std::string& bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

Order order(unsigned flags, unsigned reverse, unsigned integers) {
  if ((flags & integers) != 0) return {Order::Kind::kInteger};
  return {(flags & reverse) != 0 ? Order::Kind::kReverse : Order::Kind::kBytes};
}

}  // namespace

bool Order::operator()(const std::string& a, const std::string& b) const {
  if (kind == Kind::kInteger) return integer(a) < integer(b);
  if (kind == Kind::kBytes) return a < b;
  return std::lexicographical_compare(
      a.rbegin(), a.rend(), b.rbegin(), b.rend(),
      [](char x, char y) { return static_cast<unsigned char>(x) < static_cast<unsigned char>(y); });
}

ModelDatabase::ModelDatabase(unsigned flags)
    : flags_(flags),
      value_order_(order(flags, MDB_REVERSEDUP, MDB_INTEGERDUP)),
      items_(order(flags, MDB_REVERSEKEY, MDB_INTEGERKEY)) {}

int ModelDatabase::put(const std::string& key, const std::string& value, unsigned flags) {
  const auto found = items_.find(key);
  if ((flags & MDB_APPEND) != 0) {
    if (!items_.empty() && !items_.key_comp()(items_.rbegin()->first, key)) return MDB_KEYEXIST;
  } else if (found != items_.end() && (flags & MDB_NOOVERWRITE) != 0) {
    return MDB_KEYEXIST;
  }
  Values& values = items_.try_emplace(key, value_order_).first->second;
  if (!has_duplicates()) {
    values.clear();
  } else if (!values.empty()) {
    if ((flags & MDB_NODUPDATA) != 0 && values.contains(value)) return MDB_KEYEXIST;
    if ((flags & MDB_APPENDDUP) != 0 && !value_order_(*values.rbegin(), value)) return MDB_KEYEXIST;
  }
  values.insert(value);
  return 0;
}

int ModelDatabase::put_multiple(const std::string& key, const std::vector<std::string>& values,
                                unsigned flags, std::size_t& stored) {
  stored = 0;
  for (const std::string& value : values) {
    // LMDB ends here, without an error, when the value is the key's only one.
    const auto found = items_.find(key);
    if ((flags & MDB_NODUPDATA) == 0 && found != items_.end() && found->second.size() == 1 &&
        found->second.contains(value))
      return 0;
    if (const int rc = put(key, value, flags); rc != 0) return rc;
    ++stored;
  }
  return 0;
}

int ModelDatabase::remove(const std::string& key) {
  return items_.erase(key) != 0 ? 0 : MDB_NOTFOUND;
}

int ModelDatabase::remove(const std::string& key, const std::string& value) {
  if (!has_duplicates()) return remove(key);
  const auto found = items_.find(key);
  if (found == items_.end() || found->second.erase(value) == 0) return MDB_NOTFOUND;
  if (found->second.empty()) items_.erase(found);
  return 0;
}

DatabaseContent ModelDatabase::content() const {
  DatabaseContent content;
  content.flags = flags_;
  for (const auto& [key, values] : items_)
    for (const std::string& value : values) content.items.emplace(key, value);
  return content;
}

Content content_of(const Model& model) {
  Content content;
  for (const auto& [name, database] : model) content.emplace(name, database.content());
  return content;
}

}  // namespace hotbackup::test
