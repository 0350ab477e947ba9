// SPDX-License-Identifier: Apache-2.0
// Reads one table of the configuration key by key, so that the schema is the sequence of calls:
// what was not asked for is an unknown key. Faults are collected, and the first in the file counts.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/config/document.h"
#include "common/config/quantity.h"

namespace hotbackup::config {

/// What is wrong, or worth a warning, in one file.
class Faults {
 public:
  explicit Faults(std::string_view source) : source_(source) {}

  void refuse(Mark at, std::string text) { errors_.emplace(at, std::move(text)); }
  void warn(Mark at, std::string text) { warnings_.emplace(at, std::move(text)); }

  /// The first error in the file, if there is one.
  std::optional<Error> first_error() const;
  std::vector<std::string> warnings() const;

 private:
  using Places = std::multimap<Mark, std::string>;
  std::string source_;
  Places errors_;
  Places warnings_;
};

/// Borrows the table and the faults. A getter that finds nothing, or a fault, leaves `out` as it
/// is.
class TableReader {
 public:
  /// `title` as in the file: "[[group]]".
  TableReader(const Table& table, std::string title, Faults& faults)
      : table_(table), title_(std::move(title)), faults_(faults) {}

  /// A string that `parse` (string_view → Result<T>) turns into the value. True if it was set.
  template <class T, class Parse>
  bool read(std::string_view key, T& out, Parse parse) {
    const std::string* text = string(key);
    return text != nullptr && store(key, parse(std::string_view(*text)), out);
  }
  /// The same, where "off" (and, for commands, "") stands for nothing.
  template <class T, class Parse>
  bool read_or_off(std::string_view key, std::optional<T>& out, Parse parse) {
    const std::string* text = string(key);
    if (text == nullptr) return false;
    if (*text != "off") return store(key, parse(std::string_view(*text)), out);
    out.reset();
    return true;
  }
  /// An array of strings, each parsed; `each` gets the value and its place.
  template <class Parse, class Each>
  bool read_list(std::string_view key, Parse parse, Each each) {
    const Value* value = take(key);
    if (value == nullptr) return false;
    const auto* array = std::get_if<Array>(&value->data);
    if (array == nullptr) return wrong_type(key, *value, "an array of strings");
    for (const Value& element : *array) {
      const auto* text = std::get_if<std::string>(&element.data);
      if (text == nullptr) {
        wrong_type(key, element, "an array of strings");
      } else if (auto parsed = parse(std::string_view(*text)); !parsed) {
        refuse(key, element.at, parsed.error().text());
      } else {
        each(std::move(*parsed), element.at);
      }
    }
    return true;
  }
  /// A promise not in this version: a string that `parse` accepts and, if set, is one of `allowed`.
  template <class Parse>
  void promise(std::string_view key, std::initializer_list<std::string_view> allowed, Parse parse) {
    const std::string* text = string(key);
    if (text != nullptr) check_promise(key, *text, allowed, parse(std::string_view(*text)));
  }

  /// The string of `key`, or null.
  const std::string* string(std::string_view key);
  /// Marks the key as known; null if it is not there.
  const Value* take(std::string_view key);
  const Table* table(std::string_view key);
  /// The tables of [[key]]; empty if there are none.
  std::vector<const Table*> tables(std::string_view key);

  /// Refuses the table unless it has the key.
  void require(std::string_view key);
  /// Where the key stands, or the table if it is not there.
  Mark at(std::string_view key) const;
  void refuse(std::string_view key, Mark at, const std::string& text);
  /// After the last key: every other one is unknown.
  void finish();

  const std::string& title() const { return title_; }
  Faults& faults() { return faults_; }

 private:
  template <class T, class Out>
  bool store(std::string_view key, Result<T> value, Out& out) {
    if (!value) {
      refuse(key, table_.find(key)->value.at, value.error().text());
      return false;
    }
    out = std::move(*value);
    return true;
  }
  template <class T>
  void check_promise(std::string_view key, const std::string& text,
                     std::initializer_list<std::string_view> allowed, const Result<T>& parsed) {
    for (std::string_view word : allowed) {
      if (text == word) return;
    }
    refuse(key, table_.find(key)->value.at,
           parsed ? in_quotes(text) + " is not in this version (only \"" +
                        std::string(*allowed.begin()) + "\" is)"
                  : parsed.error().text());
  }
  bool wrong_type(std::string_view key, const Value& value, std::string_view wanted);

  const Table& table_;
  std::string title_;
  Faults& faults_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace hotbackup::config
