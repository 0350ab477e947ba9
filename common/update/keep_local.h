// SPDX-License-Identifier: Apache-2.0
// Keep-local rules: databases, and keys in them, that belong to one site: never sent, never
// overwritten. One text is one rule, as in the configuration's keep_local:
//
//   licence            the database licence, whole: its items, its making and its deletion
//   settings:host      the item with this key (all its duplicates) in database settings
//   settings:host.*    every key that begins so; "settings:*" is every key
//   settings:0x0a1b*   the same in bytes, for keys that are no text (MDB_INTEGERKEY)
//   :host.*            keys of the unnamed main database
//
// Text is cut at the first ':'; a database whose name holds one is written in bytes as well.
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/update/operation.h"

namespace hotbackup::update {

/// Bytes of one environment's rules as text, each with a line end; and of one group's, so that a
/// greeting holds them.
inline constexpr std::size_t kKeepLocalBytesMax = 2000;
inline constexpr std::size_t kKeepLocalGroupBytesMax = 30'000;

struct KeepLocalRule {
  std::string database;  // empty: main
  bool whole = false;    // the database itself; then there is no key
  bool prefix = false;
  std::string key;

  /// kConfig, with what is wrong with the text.
  static Result<KeepLocalRule> parse(std::string_view text);
  /// One text for one meaning, free of control characters: parse() of it gives the rule back.
  std::string text() const;
  /// Whether everything that `other` keeps is kept by this one too.
  bool covers(const KeepLocalRule& other) const;
  auto operator<=>(const KeepLocalRule&) const = default;
};

/// The rules of one environment; small, so looked through in order.
class KeepLocalRules {
 public:
  KeepLocalRules() = default;
  /// Sorted, each once.
  static Result<KeepLocalRules> parse(const std::vector<std::string>& texts);

  bool empty() const { return rules_.empty(); }
  const std::vector<KeepLocalRule>& rules() const { return rules_; }
  std::vector<std::string> texts() const;
  /// As kKeepLocalBytesMax counts them.
  std::size_t text_bytes() const;

  /// The database is local whole: neither its items nor that it exists are sent.
  bool keeps_database(const Database& database) const;
  /// The rule that keeps this item, or nullptr: it is sent. In the main database a key that is the
  /// name of a database kept whole is kept as well: both want the same place there.
  const KeepLocalRule* find(const Database& database, std::string_view key) const;
  bool keeps(const Database& database, std::string_view key) const {
    return !rules_.empty() && find(database, key) != nullptr;
  }
  /// Whether emptying this database would reach kept items: some of its keys are kept or, of the
  /// main database, any rule at all.
  bool reached_by_emptying(const Database& database) const;
  /// Whether everything that `other` keeps is kept here: the first rule that is not, or nullptr.
  const KeepLocalRule* first_not_covered(const KeepLocalRules& other) const;

  bool operator==(const KeepLocalRules&) const = default;

 private:
  std::vector<KeepLocalRule> rules_;
};

/// The rules of one [[group.env]].
struct EnvironmentRules {
  std::string environment;  // name in the configuration
  KeepLocalRules rules;
  bool operator==(const EnvironmentRules&) const = default;
};

/// Empty when both have the same; else one sentence that names the first environment where they
/// differ, and the rules of both nodes there.
std::string explain_difference(const std::vector<EnvironmentRules>& a, std::string_view node_a,
                               const std::vector<EnvironmentRules>& b, std::string_view node_b);

}  // namespace hotbackup::update
