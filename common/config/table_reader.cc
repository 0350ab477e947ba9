// SPDX-License-Identifier: Apache-2.0
#include "common/config/table_reader.h"

namespace hotbackup::config {

std::optional<Error> Faults::first_error() const {
  if (errors_.empty()) return std::nullopt;
  const auto& [at, text] = *errors_.begin();
  return Error(ErrorCode::kConfig, located(source_, at, text));
}

std::vector<std::string> Faults::warnings() const {
  std::vector<std::string> lines;
  for (const auto& [at, text] : warnings_) lines.push_back(located(source_, at, text));
  return lines;
}

const Value* TableReader::take(std::string_view key) {
  known_.emplace(key);
  const Entry* entry = table_.find(key);
  return entry == nullptr ? nullptr : &entry->value;
}

const std::string* TableReader::string(std::string_view key) {
  const Value* value = take(key);
  if (value == nullptr) return nullptr;
  const auto* text = std::get_if<std::string>(&value->data);
  if (text == nullptr) wrong_type(key, *value, "a string");
  return text;
}

const Table* TableReader::table(std::string_view key) {
  const Value* value = take(key);
  if (value == nullptr) return nullptr;
  const auto* table = std::get_if<Table>(&value->data);
  if (table == nullptr) wrong_type(key, *value, "a table");
  return table;
}

std::vector<const Table*> TableReader::tables(std::string_view key) {
  std::vector<const Table*> tables;
  const Value* value = take(key);
  if (value == nullptr) return tables;
  const auto* array = std::get_if<Array>(&value->data);
  if (array == nullptr) {
    wrong_type(key, *value, "written in double brackets, for there may be several");
    return tables;
  }
  for (const Value& element : *array) {
    const auto* table = std::get_if<Table>(&element.data);
    if (table == nullptr) {
      wrong_type(key, element, "a table");
    } else {
      tables.push_back(table);
    }
  }
  return tables;
}

void TableReader::require(std::string_view key) {
  if (table_.find(key) == nullptr) {
    faults_.refuse(table_.at, title_ + " has no '" + std::string(key) + "'");
  }
}

Mark TableReader::at(std::string_view key) const {
  const Entry* entry = table_.find(key);
  return entry == nullptr ? table_.at : entry->value.at;
}

void TableReader::refuse(std::string_view key, Mark at, const std::string& text) {
  faults_.refuse(at, "'" + std::string(key) + "' in " + title_ + ": " + text);
}

void TableReader::finish() {
  for (const Entry& entry : table_.entries) {
    if (known_.contains(entry.key)) continue;
    std::string text = "unknown key " + in_quotes(entry.key) + " in " + title_;
    if (const auto meant = nearest_word(entry.key, {known_.begin(), known_.end()})) {
      text += " (did you mean '" + *meant + "'?)";
    }
    faults_.refuse(entry.at, std::move(text));
  }
}

bool TableReader::wrong_type(std::string_view key, const Value& value, std::string_view wanted) {
  refuse(key, value.at,
         "it is " + std::string(value.type_name()) + ", but has to be " + std::string(wanted));
  return false;
}

}  // namespace hotbackup::config
