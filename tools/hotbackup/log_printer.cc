// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/log_printer.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/control/test_environment.h"
#include "common/journal/mark.h"
#include "common/update/codec.h"

namespace hotbackup::cli {
namespace {

using journal::FrameHeader;
using journal::FrameKind;
using nlohmann::ordered_json;
using update::Operation;
using update::OperationKind;

std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

/// `json` without its closing brace: more members follow.
std::string dump_open(const ordered_json& json) {
  std::string text = dump(json);
  text.pop_back();
  return text;
}

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

bool has_value(OperationKind kind) {
  return kind == OperationKind::kPut || kind == OperationKind::kValuePart ||
         kind == OperationKind::kDeletePair;
}
bool has_key(OperationKind kind) {
  return kind == OperationKind::kPut || kind == OperationKind::kPutLarge ||
         kind == OperationKind::kDeleteKey || kind == OperationKind::kDeletePair;
}

/// What a control frame says, in words.
Result<std::string> describe_control(const journal::FrameView& frame) {
  if (frame.header.kind == FrameKind::kEpoch) {
    HOTBACKUP_ASSIGN(const auto epoch, update::read_epoch(frame.body));
    return "epoch " + std::to_string(epoch.epoch.counter) + " of node " + epoch.node_name;
  }
  if (frame.header.kind == FrameKind::kBaseline) {
    HOTBACKUP_ASSIGN(const auto baseline, update::read_baseline(frame.body));
    return "LMDB transaction " + std::to_string(baseline.txnid.value) + " of " + "environment " +
           std::to_string(baseline.environment.value);
  }
  if (frame.header.kind == FrameKind::kEnvironment) {
    HOTBACKUP_ASSIGN(const auto environment, update::read_environment(frame.body));
    return environment.name + ", " + human_bytes(environment.map_bytes) + " map";
  }
  if (frame.header.kind == FrameKind::kRules) {
    HOTBACKUP_ASSIGN(const auto rules, update::read_rules(frame.body));
    std::string text;
    for (const update::EnvironmentRules& kept : rules) {
      text += (text.empty() ? "kept local in " : "; in ") + kept.environment + ":";
      for (const std::string& rule : kept.rules.texts()) text += " " + rule;
    }
    return text.empty() ? "nothing is kept local" : text;
  }
  if (frame.header.kind == journal::FrameKind::kMark) return journal::mark_name(frame);
  return std::string();
}

}  // namespace

void LogPrinter::begin(const std::string& group) {
  if (form_ == Form::kOneObject) put(dump_open({{"group", group}}) + ",\"updates\":[");
}

void LogPrinter::end() {
  if (form_ == Form::kOneObject) put("]}\n");
  std::fflush(stdout);
}

bool LogPrinter::wanted(const FrameHeader& header) const {
  if (!filter_.environment) return true;
  const Names names = name_of_(header.environment);
  return *filter_.environment == names.name || *filter_.environment == names.configured;
}

bool LogPrinter::wanted(const Operation& operation) const {
  if (filter_.database && *filter_.database != operation.database.name) return false;
  // A part has no key: it belongs to the large value before it.
  return !filter_.key || (has_key(operation.kind) && *filter_.key == operation.key);
}

Result<> LogPrinter::frame(const journal::FrameView& frame) {
  const FrameHeader& header = frame.header;
  if (!in_update_) {
    in_update_ = true;
    update_open_ = false;
    operations_ = 0;
    detail_.clear();
  }
  if (wanted(header)) {
    HOTBACKUP_TRY(count_and_show(frame));
    const bool filtered = filter_.database || filter_.key;
    if (header.last_part && (update_open_ || !filtered)) {
      if (!update_open_) open_update(header);
      close_update(header);
    }
  }
  if (header.last_part) in_update_ = false;
  return {};
}

Result<> LogPrinter::count_and_show(const journal::FrameView& frame) {
  if (frame.header.kind != FrameKind::kUpdate) {
    HOTBACKUP_ASSIGN(detail_, describe_control(frame));
    return {};
  }
  return update::read_body(frame.body, [&](const Operation& operation) -> Result<> {
    if (operation.kind != OperationKind::kValuePart) ++operations_;
    if (!filter_.shows_operations() || !wanted(operation)) return {};
    if (!update_open_) open_update(frame.header);
    show(operation);
    return {};
  });
}

void LogPrinter::open_update(const FrameHeader& header) {
  update_open_ = true;
  first_operation_ = true;
  const std::string environment =
      header.environment.value == 0 ? std::string() : name_of_(header.environment).name;
  // An update of hotbackup's own.
  const bool test = header.kind == FrameKind::kUpdate && control::is_test_environment(environment);
  const std::string kind(test ? "test" : journal::frame_kind_name(header.kind));
  if (form_ == Form::kText) {
    std::printf("%10llu  %s  %-12s %-11s", static_cast<unsigned long long>(header.number.value),
                iso8601(header.commit_time).c_str(),
                environment.empty() ? "-" : environment.c_str(), kind.c_str());
    if (filter_.shows_operations() && header.kind == FrameKind::kUpdate) put("\n");
    return;
  }
  if (!first_ && form_ == Form::kOneObject) put(",\n");
  first_ = false;
  put(dump_open(
      {{"number", header.number.value},
       {"time", iso8601(header.commit_time)},
       {"kind", kind},
       {"environment", environment.empty() ? ordered_json(nullptr) : ordered_json(environment)},
       {"epoch", header.epoch.counter},
       {"txnid", header.txnid.value},
       {"bytes", header.update_bytes}}));
  if (filter_.shows_operations()) put(",\"operations\":[");
}

void LogPrinter::show(const Operation& operation) {
  const std::string kind(update::operation_kind_name(operation.kind));
  const std::string database =
      operation.database.main ? "(main)" : printable(operation.database.name);
  const std::uint64_t bytes =
      operation.kind == OperationKind::kPutLarge ? operation.value_bytes : operation.value.size();
  if (form_ == Form::kText) {
    std::string line = "            " + kind + "  " + database;
    if (has_key(operation.kind)) line += "  " + printable(operation.key);
    if (has_value(operation.kind) && filter_.data)
      line += " = " + printable(operation.value);
    else if (bytes != 0)
      line += "  (" + human_bytes(bytes) + ")";
    put(line + "\n");
    return;
  }
  ordered_json json{{"kind", kind},
                    {"database", operation.database.main ? "" : printable(operation.database.name)},
                    {"main", operation.database.main},
                    {"flags", operation.database.flags}};
  if (has_key(operation.kind)) json["key"] = printable(operation.key);
  if (has_value(operation.kind) || operation.kind == OperationKind::kPutLarge)
    json["value_bytes"] = bytes;
  if (has_value(operation.kind) && filter_.data) json["value"] = printable(operation.value);
  put((first_operation_ ? "" : ",") + dump(json));
  first_operation_ = false;
}

void LogPrinter::close_update(const FrameHeader& header) {
  const bool control = header.kind != FrameKind::kUpdate;
  if (form_ == Form::kText) {
    std::string line = control ? detail_
                               : human_count(operations_) +
                                     (operations_ == 1 ? " operation, " : " operations, ") +
                                     human_bytes(header.update_bytes);
    if (header.is_void()) line += "  void: its commit failed";
    put((filter_.shows_operations() && !control ? "            " : " ") + line + "\n");
    return;
  }
  put(filter_.shows_operations() ? "]," : ",");
  put(dump({{"operation_count", operations_}, {"detail", detail_}, {"void", header.is_void()}})
          .substr(1));
  if (form_ == Form::kObjectsPerLine) put("\n");
}

}  // namespace hotbackup::cli
