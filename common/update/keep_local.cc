// SPDX-License-Identifier: Apache-2.0
#include "common/update/keep_local.h"

#include <algorithm>
#include <map>

#include "common/base/bytes.h"

namespace hotbackup::update {
namespace {

constexpr std::size_t kNameBytesMax = 511;  // LMDB's longest key, and so its longest name

tl::unexpected<Error> wrong(std::string_view text, const std::string& why) {
  return fail(ErrorCode::kConfig, "keep-local rule \"" + std::string(text) + "\": " + why);
}

/// A name or a key as it stands in a rule: as it is, or 0x and its bytes.
Result<std::string> read_bytes(std::string_view rule, std::string_view part, const char* what) {
  std::string bytes(part);
  if (part.starts_with("0x")) {
    const auto read = unhex(part.substr(2));
    if (!read || read->empty())
      return wrong(rule, std::string(what) + " in bytes is 0x and pairs of hexadecimal digits");
    bytes = *read;
  } else if (part.find('*') != std::string_view::npos) {
    return wrong(rule, "'*' stands only at the end of a key; where it is a letter, write " +
                           std::string(what) + " in bytes: 0x" + hex(part));
  }
  if (bytes.size() > kNameBytesMax)
    return wrong(rule, std::string(what) + " has more than " + std::to_string(kNameBytesMax) +
                           " bytes, which LMDB does not store");
  return bytes;
}

bool is_plain_text(std::string_view bytes, std::string_view not_these) {
  return !bytes.starts_with("0x") && std::all_of(bytes.begin(), bytes.end(), [&](char c) {
    return c >= 0x20 && c < 0x7f && not_these.find(c) == std::string_view::npos;
  });
}

std::string write_bytes(std::string_view bytes, std::string_view not_these) {
  return is_plain_text(bytes, not_these) ? std::string(bytes) : "0x" + hex(bytes);
}

}  // namespace

Result<KeepLocalRule> KeepLocalRule::parse(std::string_view text) {
  KeepLocalRule rule;
  const std::size_t colon = text.find(':');
  rule.whole = colon == std::string_view::npos;
  if (rule.whole && text.empty()) return wrong(text, "it names no database");
  const std::string_view name = text.substr(0, colon);
  if (!name.empty()) {
    HOTBACKUP_ASSIGN(rule.database, read_bytes(text, name, "a database's name"));
    if (rule.database.find('\0') != std::string::npos)
      return wrong(text, "no database has a zero byte in its name");
  }
  if (rule.whole) return rule;
  std::string_view key = text.substr(colon + 1);
  rule.prefix = key.ends_with('*');
  if (rule.prefix) key.remove_suffix(1);
  if (key.empty() && !rule.prefix)
    return wrong(text, "no key after ':'; every key is \"" + std::string(name) + ":*\"");
  if (!key.empty()) {
    HOTBACKUP_ASSIGN(rule.key, read_bytes(text, key, "a key"));
  }
  return rule;
}

std::string KeepLocalRule::text() const {
  std::string out = write_bytes(database, ":*");
  if (whole) return out;
  return out + ":" + write_bytes(key, "*") + (prefix ? "*" : "");
}

bool KeepLocalRule::covers(const KeepLocalRule& other) const {
  if (database != other.database) return false;
  if (whole || other.whole) return whole;
  return prefix ? other.key.starts_with(key) : !other.prefix && key == other.key;
}

Result<KeepLocalRules> KeepLocalRules::parse(const std::vector<std::string>& texts) {
  KeepLocalRules rules;
  for (const std::string& text : texts) {
    HOTBACKUP_ASSIGN(auto rule, KeepLocalRule::parse(text));
    rules.rules_.push_back(std::move(rule));
  }
  std::sort(rules.rules_.begin(), rules.rules_.end());
  rules.rules_.erase(std::unique(rules.rules_.begin(), rules.rules_.end()), rules.rules_.end());
  return rules;
}

std::vector<std::string> KeepLocalRules::texts() const {
  std::vector<std::string> texts;
  for (const KeepLocalRule& rule : rules_) texts.push_back(rule.text());
  return texts;
}

std::size_t KeepLocalRules::text_bytes() const {
  std::size_t bytes = 0;
  for (const KeepLocalRule& rule : rules_) bytes += rule.text().size() + 1;
  return bytes;
}

bool KeepLocalRules::keeps_database(const Database& database) const {
  return !database.main &&
         std::any_of(rules_.begin(), rules_.end(), [&](const KeepLocalRule& rule) {
           return rule.whole && rule.database == database.name;
         });
}

const KeepLocalRule* KeepLocalRules::find(const Database& database, std::string_view key) const {
  for (const KeepLocalRule& rule : rules_) {
    if (rule.whole) {
      if (rule.database == (database.main ? key : database.name)) return &rule;
    } else if (rule.database == (database.main ? std::string_view() : database.name)) {
      if (rule.prefix ? key.starts_with(rule.key) : key == rule.key) return &rule;
    }
  }
  return nullptr;
}

bool KeepLocalRules::reached_by_emptying(const Database& database) const {
  if (database.main) return !rules_.empty();
  return std::any_of(rules_.begin(), rules_.end(),
                     [&](const KeepLocalRule& rule) { return rule.database == database.name; });
}

const KeepLocalRule* KeepLocalRules::first_not_covered(const KeepLocalRules& other) const {
  for (const KeepLocalRule& rule : other.rules_)
    if (std::none_of(rules_.begin(), rules_.end(),
                     [&](const KeepLocalRule& mine) { return mine.covers(rule); }))
      return &rule;
  return nullptr;
}

namespace {

std::map<std::string, KeepLocalRules> by_name(const std::vector<EnvironmentRules>& all) {
  std::map<std::string, KeepLocalRules> named;
  for (const EnvironmentRules& kept : all)
    if (!kept.rules.empty()) named.emplace(kept.environment, kept.rules);
  return named;
}

std::string list(std::string_view node, const KeepLocalRules* rules) {
  std::string out(node);
  if (rules == nullptr) return out + " keeps nothing";
  out += " keeps";
  for (const std::string& text : rules->texts()) out += " \"" + text + "\"";
  return out;
}

}  // namespace

std::string explain_difference(const std::vector<EnvironmentRules>& a, std::string_view node_a,
                               const std::vector<EnvironmentRules>& b, std::string_view node_b) {
  const auto left = by_name(a), right = by_name(b);
  auto names = left;
  names.insert(right.begin(), right.end());
  for (const auto& [name, rules] : names) {
    const auto here = left.find(name), there = right.find(name);
    const KeepLocalRules* mine = here == left.end() ? nullptr : &here->second;
    const KeepLocalRules* theirs = there == right.end() ? nullptr : &there->second;
    if (mine != nullptr && theirs != nullptr && *mine == *theirs) continue;
    return "keep-local rules of environment " + name + " differ: " + list(node_a, mine) + ", " +
           list(node_b, theirs);
  }
  return {};
}

}  // namespace hotbackup::update
