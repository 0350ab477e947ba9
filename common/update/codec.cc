// SPDX-License-Identifier: Apache-2.0
#include "common/update/codec.h"

#include <optional>
// What comes from a peer or the disk is answered with exceptions, caught here; protozero's
// assertions would end the process in builds without NDEBUG.
#define protozero_assert(condition) static_cast<void>(0)
#include <protozero/pbf_message.hpp>
#include <protozero/pbf_writer.hpp>

namespace hotbackup::update {
namespace {

enum class BodyTag : protozero::pbf_tag_type { kDatabase = 1, kOperation = 2 };
enum class DatabaseTag : protozero::pbf_tag_type { kIndex = 1, kMain = 2, kName = 3, kFlags = 4 };
enum class OperationTag : protozero::pbf_tag_type {
  kKind = 1,
  kDatabase = 2,
  kKey = 3,
  kValue = 4,
  kValueBytes = 5,
};

std::string_view to_view(const protozero::data_view& data) {
  return {data.data(), data.size()};
}

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

constexpr std::size_t varint_bytes(std::uint64_t value) {
  std::size_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

constexpr char kVarintField(int tag) {
  return static_cast<char>(tag << 3);
}
constexpr char kBytesField(int tag) {
  return static_cast<char>(tag << 3 | 2);
}

struct NamedDatabase {
  std::uint32_t index = 0;
  Database database;
};

NamedDatabase read_database(protozero::pbf_message<DatabaseTag> message) {
  NamedDatabase named;
  while (message.next()) {
    switch (message.tag()) {
      case DatabaseTag::kIndex:
        named.index = message.get_uint32();
        break;
      case DatabaseTag::kMain:
        named.database.main = message.get_bool();
        break;
      case DatabaseTag::kName:
        named.database.name = to_view(message.get_view());
        break;
      case DatabaseTag::kFlags:
        named.database.flags = message.get_uint32();
        break;
      default:
        message.skip();
    }
  }
  return named;
}

struct RawOperation {
  Operation operation;
  std::uint32_t database = 0;
};

RawOperation read_operation(protozero::pbf_message<OperationTag> message) {
  RawOperation raw;
  while (message.next()) {
    switch (message.tag()) {
      case OperationTag::kKind:
        raw.operation.kind = static_cast<OperationKind>(message.get_uint32());
        break;
      case OperationTag::kDatabase:
        raw.database = message.get_uint32();
        break;
      case OperationTag::kKey:
        raw.operation.key = to_view(message.get_view());
        break;
      case OperationTag::kValue:
        raw.operation.value = to_view(message.get_view());
        break;
      case OperationTag::kValueBytes:
        raw.operation.value_bytes = message.get_uint64();
        break;
      default:
        message.skip();
    }
  }
  return raw;
}

Error damaged(std::string_view what) {
  return Error(ErrorCode::kCorrupt, "frame body is damaged: " + std::string(what));
}

/// Runs a protozero reader and turns its exceptions into an Error.
template <class F>
Result<> guarded(F&& read) {
  try {
    return read();
  } catch (const protozero::exception& e) {
    return fail(damaged(e.what()));
  }
}

}  // namespace

std::string_view operation_kind_name(OperationKind kind) {
  switch (kind) {
    case OperationKind::kPut:
      return "put";
    case OperationKind::kPutLarge:
      return "put_large";
    case OperationKind::kValuePart:
      return "value_part";
    case OperationKind::kDeleteKey:
      return "delete";
    case OperationKind::kDeletePair:
      return "delete_pair";
    case OperationKind::kCreate:
      return "create";
    case OperationKind::kClear:
      return "clear";
    case OperationKind::kDrop:
      return "drop";
  }
  return "unknown";
}

std::uint32_t BodyWriter::index_of(const Database& database) {
  for (std::size_t i = named_.size(); i > 0; --i) {
    const Named& named = named_[i - 1];
    if (named.main == database.main && named.flags == database.flags && named.name == database.name)
      return static_cast<std::uint32_t>(i - 1);
  }
  const auto index = static_cast<std::uint32_t>(named_.size());
  named_.push_back({database.main, database.flags, std::string(database.name)});
  protozero::basic_pbf_writer<std::string> body(out_);
  protozero::basic_pbf_writer<std::string> message(
      body, static_cast<protozero::pbf_tag_type>(BodyTag::kDatabase));
  message.add_uint32(1, index);
  if (database.main) message.add_bool(2, true);
  if (!database.name.empty()) message.add_bytes(3, database.name.data(), database.name.size());
  if (database.flags != 0) message.add_uint32(4, database.flags);
  return index;
}

// Written by hand for the hot path: lengths are known before, so nothing is moved afterwards.
void BodyWriter::add(const Operation& operation) {
  const std::uint32_t index = index_of(operation.database);
  const auto kind = static_cast<std::uint32_t>(operation.kind);
  const bool has_key = !operation.key.empty();
  const std::string_view value =
      operation.kind == OperationKind::kPutLarge ? std::string_view{} : operation.value;
  std::size_t bytes = 0;
  if (kind != 0) bytes += 1 + varint_bytes(kind);
  if (index != 0) bytes += 1 + varint_bytes(index);
  if (has_key) bytes += 1 + varint_bytes(operation.key.size()) + operation.key.size();
  if (!value.empty()) bytes += 1 + varint_bytes(value.size()) + value.size();
  if (operation.value_bytes != 0) bytes += 1 + varint_bytes(operation.value_bytes);

  out_ += kBytesField(2);
  append_varint(out_, bytes);
  if (kind != 0) {
    out_ += kVarintField(1);
    append_varint(out_, kind);
  }
  if (index != 0) {
    out_ += kVarintField(2);
    append_varint(out_, index);
  }
  if (has_key) {
    out_ += kBytesField(3);
    append_varint(out_, operation.key.size());
    out_.append(operation.key);
  }
  if (!value.empty()) {
    out_ += kBytesField(4);
    append_varint(out_, value.size());
    out_.append(value);
  }
  if (operation.value_bytes != 0) {
    out_ += kVarintField(5);
    append_varint(out_, operation.value_bytes);
  }
}

Result<> read_body(std::string_view body, const std::function<Result<>(const Operation&)>& visit) {
  return guarded([&]() -> Result<> {
    std::vector<Database> databases;
    protozero::pbf_message<BodyTag> message(body.data(), body.size());
    while (message.next()) {
      if (message.tag() == BodyTag::kDatabase) {
        const NamedDatabase named = read_database(message.get_message());
        if (named.index != databases.size()) return fail(damaged("databases out of order"));
        databases.push_back(named.database);
        continue;
      }
      if (message.tag() != BodyTag::kOperation) {
        message.skip();
        continue;
      }
      RawOperation raw = read_operation(message.get_message());
      if (raw.operation.kind > OperationKind::kDrop) return fail(damaged("unknown operation"));
      if (raw.database >= databases.size())
        return fail(damaged("operation on an unnamed database"));
      if (raw.operation.key.size() > kKeyBytesMax) return fail(damaged("key too long"));
      raw.operation.database = databases[raw.database];
      HOTBACKUP_TRY(visit(raw.operation));
    }
    return {};
  });
}

std::string write_environment(const EnvironmentBody& environment) {
  std::string out;
  protozero::pbf_writer writer(out);
  writer.add_uint32(1, environment.number.value);
  writer.add_string(2, environment.name);
  writer.add_string(3, environment.configured);
  writer.add_bytes(4, environment.match);
  writer.add_bool(5, environment.subdirectory);
  writer.add_uint64(6, environment.map_bytes);
  writer.add_uint32(7, environment.mode);
  writer.add_string(8, environment.owner);
  return out;
}

Result<EnvironmentBody> read_environment(std::string_view body) {
  EnvironmentBody environment;
  environment.subdirectory = false;
  HOTBACKUP_TRY(guarded([&]() -> Result<> {
    protozero::pbf_reader message(body.data(), body.size());
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          environment.number = EnvironmentNumber(message.get_uint32());
          break;
        case 2:
          environment.name = message.get_string();
          break;
        case 3:
          environment.configured = message.get_string();
          break;
        case 4:
          environment.match = message.get_bytes();
          break;
        case 5:
          environment.subdirectory = message.get_bool();
          break;
        case 6:
          environment.map_bytes = message.get_uint64();
          break;
        case 7:
          environment.mode = message.get_uint32();
          break;
        case 8:
          environment.owner = message.get_string();
          break;
        default:
          message.skip();
      }
    }
    return {};
  }));
  // These become file names on the slave: nothing in them may leave the copies' directory.
  if (environment.number.value == 0 || environment.name.empty() ||
      environment.name.find('/') != std::string::npos || environment.name[0] == '.' ||
      environment.match.find('/') != std::string::npos ||
      environment.match.find('\0') != std::string::npos || environment.name.size() > 255 ||
      environment.match.size() > 255)
    return fail(damaged("an environment without a usable name"));
  return environment;
}

std::string write_baseline(const BaselineBody& baseline) {
  std::string out;
  protozero::pbf_writer writer(out);
  writer.add_uint64(1, baseline.node.value);
  writer.add_uint32(2, baseline.environment.value);
  writer.add_uint64(3, baseline.txnid.value);
  return out;
}

Result<BaselineBody> read_baseline(std::string_view body) {
  BaselineBody baseline;
  HOTBACKUP_TRY(guarded([&]() -> Result<> {
    protozero::pbf_reader message(body.data(), body.size());
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          baseline.node = NodeId(message.get_uint64());
          break;
        case 2:
          baseline.environment = EnvironmentNumber(message.get_uint32());
          break;
        case 3:
          baseline.txnid = TxnId(message.get_uint64());
          break;
        default:
          message.skip();
      }
    }
    return {};
  }));
  return baseline;
}

std::string write_epoch(const EpochBody& body) {
  std::string out;
  protozero::pbf_writer writer(out);
  writer.add_uint64(1, body.epoch.counter);
  writer.add_uint64(2, body.epoch.node.value);
  writer.add_string(3, body.node_name);
  return out;
}

Result<EpochBody> read_epoch(std::string_view bytes) {
  EpochBody body;
  HOTBACKUP_TRY(guarded([&]() -> Result<> {
    protozero::pbf_reader message(bytes.data(), bytes.size());
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          body.epoch.counter = message.get_uint64();
          break;
        case 2:
          body.epoch.node = NodeId(message.get_uint64());
          break;
        case 3:
          body.node_name = message.get_string();
          break;
        default:
          message.skip();
      }
    }
    return {};
  }));
  return body;
}

std::string write_rules(const std::vector<EnvironmentRules>& rules) {
  std::string out;
  protozero::pbf_writer writer(out);
  for (const EnvironmentRules& kept : rules) {
    protozero::pbf_writer environment(writer, 1);
    environment.add_string(1, kept.environment);
    for (const std::string& text : kept.rules.texts()) environment.add_string(2, text);
  }
  return out;
}

Result<std::vector<EnvironmentRules>> read_rules(std::string_view body) {
  std::vector<EnvironmentRules> rules;
  HOTBACKUP_TRY(guarded([&]() -> Result<> {
    protozero::pbf_reader message(body.data(), body.size());
    while (message.next(1)) {
      protozero::pbf_reader environment = message.get_message();
      EnvironmentRules kept;
      std::vector<std::string> texts;
      while (environment.next()) {
        if (environment.tag() == 1)
          kept.environment = environment.get_string();
        else if (environment.tag() == 2)
          texts.push_back(environment.get_string());
        else
          environment.skip();
      }
      auto parsed = KeepLocalRules::parse(texts);
      if (!parsed) return fail(damaged(parsed.error().text()));
      kept.rules = std::move(*parsed);
      rules.push_back(std::move(kept));
    }
    return {};
  }));
  return rules;
}

}  // namespace hotbackup::update
