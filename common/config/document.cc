// SPDX-License-Identifier: Apache-2.0
#include "common/config/document.h"

#include <algorithm>
#include <array>
#include <exception>
#include <optional>

// The parser asserts what a wrong file can break ("[!x]"), and in a build without assertions tells
// the compiler that it is true. Behind each it checks properly: so neither abort nor assume.
#undef NDEBUG
#define TOML_ASSERT(expression) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace hotbackup::config {
namespace {

// The library takes nested tables down recursively, one level for each "a." of a key. Keys cannot
// span lines, so a longest line bounds the depth; what is handed on is bounded by itself.
constexpr std::size_t kLineBytesMax = 4096;
constexpr int kDepthMax = 32;

Mark mark_of(const toml::source_region& region) {
  if (region.begin.line == 0) return Mark{};
  return Mark{region.begin.line, region.begin.column};
}

class Converter {
 public:
  Table convert_table(const toml::table& from) {
    Table to{mark_of(from.source()), {}};
    to.entries.reserve(from.size());
    for (const auto& [key, node] : from) {
      to.entries.push_back({std::string(key.str()), mark_of(key.source()), convert(node)});
    }
    return to;
  }

  /// Where it went too deep, if it did: then the result is not whole.
  const std::optional<Mark>& too_deep() const { return too_deep_; }

 private:
  Value convert(const toml::node& node) {
    Value to{mark_of(node.source()), Date{}};
    if (depth_ == kDepthMax) {
      too_deep_ = to.at;
      return to;
    }
    ++depth_;
    if (const auto* table = node.as_table()) {
      to.data = convert_table(*table);
    } else if (const auto* array = node.as_array()) {
      Array values;
      values.reserve(array->size());
      for (const toml::node& element : *array) values.push_back(convert(element));
      to.data = std::move(values);
    } else if (const auto* text = node.as_string()) {
      to.data = text->get();
    } else if (const auto* integer = node.as_integer()) {
      to.data = integer->get();
    } else if (const auto* number = node.as_floating_point()) {
      to.data = number->get();
    } else if (const auto* truth = node.as_boolean()) {
      to.data = truth->get();
    }
    --depth_;
    return to;
  }

  int depth_ = 0;
  std::optional<Mark> too_deep_;
};

std::optional<Mark> find_long_line(std::string_view text) {
  for (std::uint32_t line = 1; !text.empty(); ++line) {
    const std::size_t length = std::min(text.find('\n'), text.size());
    if (length > kLineBytesMax) return Mark{line, kLineBytesMax};
    text.remove_prefix(std::min(length + 1, text.size()));
  }
  return std::nullopt;
}

}  // namespace

const Entry* Table::find(std::string_view key) const {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const Entry& entry) { return entry.key == key; });
  return found == entries.end() ? nullptr : &*found;
}

std::string_view Value::type_name() const {
  constexpr std::array<std::string_view, std::variant_size_v<decltype(data)>> kNames = {
      "a string",       "a whole number", "a number", "true or false",
      "a date or time", "an array",       "a table"};
  return kNames[data.index()];
}

std::string located(std::string_view source, Mark at, std::string_view text) {
  std::string out(source);
  out += ":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": ";
  out += text;
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return out;
}

Result<Table> parse_document(std::string_view text, std::string_view source) {
  if (const auto at = find_long_line(text)) {
    return fail(ErrorCode::kConfig, located(source, *at, "the line is too long"));
  }
  try {
    const toml::parse_result result = toml::parse(text);
    if (!result) {
      const toml::parse_error& error = result.error();
      return fail(ErrorCode::kConfig,
                  located(source, mark_of(error.source()), error.description()));
    }
    Converter converter;
    Table table = converter.convert_table(result.table());
    if (const auto& at = converter.too_deep()) {
      return fail(ErrorCode::kConfig, located(source, *at, "too many levels of nesting"));
    }
    return table;
  } catch (const std::exception& error) {
    return fail(ErrorCode::kConfig, located(source, Mark{}, error.what()));
  }
}

}  // namespace hotbackup::config
