// SPDX-License-Identifier: Apache-2.0
#include "common/control/group_file.h"

#include <sstream>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "common/base/bytes.h"

namespace hotbackup::control {
namespace {

constexpr std::string_view kRoleNames[] = {"none", "master", "slave", "fenced"};
constexpr std::string_view kLimitNames[] = {"off", "updates", "bytes", "time"};
constexpr std::string_view kAtLimitNames[] = {"alarm", "wait", "refuse"};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04X", static_cast<unsigned char>(c));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// Reads the fields of one table; remembers the first that is missing or of another type.
class Fields {
 public:
  explicit Fields(const toml::table& table) : table_(table) {}

  std::string text(std::string_view key) {
    const auto value = table_[key].value_exact<std::string>();
    if (!value) note(key);
    return value.value_or(std::string());
  }
  std::uint64_t number(std::string_view key) {
    const auto value = table_[key].value_exact<std::int64_t>();
    if (!value || *value < 0) note(key);
    return static_cast<std::uint64_t>(value.value_or(0));
  }
  std::uint64_t number_or(std::string_view key, std::uint64_t missing) {
    return table_.contains(key) ? number(key) : missing;
  }
  bool flag(std::string_view key) {
    const auto value = table_[key].value_exact<bool>();
    if (!value) note(key);
    return value.value_or(false);
  }
  const toml::array* list(std::string_view key) const { return table_[key].as_array(); }
  const std::string& missing() const { return missing_; }

 private:
  void note(std::string_view key) {
    if (missing_.empty()) missing_ = key;
  }
  const toml::table& table_;
  std::string missing_;
};

template <class E, std::size_t N>
void read_word(Fields& fields, std::string_view key, const std::string_view (&words)[N], E& out) {
  const std::string word = fields.text(key);
  for (std::uint32_t i = 0; i < N; ++i)
    if (word == words[i]) out = static_cast<E>(i);
}

/// No table, no limit: the file is older than the limit.
Result<LossLimit> read_limit(const toml::table* table) {
  LossLimit limit;
  if (table == nullptr) return limit;
  Fields fields(*table);
  read_word(fields, "kind", kLimitNames, limit.kind);
  limit.amount = fields.number("amount");
  read_word(fields, "at_limit", kAtLimitNames, limit.at_limit);
  limit.wait_max = std::chrono::nanoseconds(fields.number("wait_max_ns"));
  limit.applied = fields.flag("applied");
  limit.peers = static_cast<std::uint32_t>(fields.number("peers"));
  if (!fields.missing().empty())
    return fail(ErrorCode::kCorrupt, "missing or wrong in [loss_limit]: " + fields.missing());
  return limit;
}

void write_limit(std::ostringstream& out, const LossLimit& limit) {
  out << "\n[loss_limit]\nkind = \"" << kLimitNames[static_cast<std::size_t>(limit.kind)]
      << "\"\namount = " << limit.amount << "\nat_limit = \""
      << kAtLimitNames[static_cast<std::size_t>(limit.at_limit)]
      << "\"\nwait_max_ns = " << limit.wait_max.count()
      << "\napplied = " << (limit.applied ? "true" : "false") << "\npeers = " << limit.peers
      << "\n";
}

Result<> read_tables(const toml::array* list, const std::function<std::string(Fields&)>& read) {
  if (list == nullptr) return {};
  for (const toml::node& node : *list) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return fail(ErrorCode::kCorrupt, "a table is expected");
    Fields fields(*table);
    const std::string missing = read(fields);
    if (!missing.empty()) return fail(ErrorCode::kCorrupt, "missing or wrong: " + missing);
  }
  return {};
}

uid_t id_of(std::uint64_t stored) {
  return static_cast<uid_t>(static_cast<std::uint32_t>(stored));
}

Result<GroupRecord> read_record(const toml::table& table) {
  GroupRecord record;
  Fields fields(table);
  if (const std::string id = fields.text("id"); !id.empty()) {
    HOTBACKUP_ASSIGN(record.id, GroupId::from_hex(id));
  }
  record.name = fields.text("name");
  record.node_name = fields.text("node");
  const std::string node = fields.text("node_id");
  record.node = NodeId(std::strtoull(node.c_str(), nullptr, 16));
  const std::string role = fields.text("role");
  for (std::uint32_t i = 0; i < std::size(kRoleNames); ++i)
    if (role == kRoleNames[i]) record.role = static_cast<Role>(i);
  record.master_name = fields.text("master");
  record.known_epoch.counter = fields.number_or("known_epoch", 0);
  record.known_epoch.node =
      NodeId(std::strtoull(table["known_epoch_node"].value_or(std::string()).c_str(), nullptr, 16));
  record.wrote = table["wrote"].value_or(record.role == Role::kMaster);
  record.boot_wait_ms = fields.number_or("boot_wait_ms", 0);
  record.lease_ms = fields.number_or("lease_ms", 0);
  record.permissions.uid = id_of(fields.number("uid"));
  record.permissions.gid = id_of(fields.number("gid"));
  record.permissions.mode = static_cast<mode_t>(fields.number("mode") & 0777);
  record.segment_bytes = fields.number("segment_bytes");
  record.journal_bytes_max = table["journal_bytes_max"].value_or(std::uint64_t{0});
  if (const toml::array* peers = fields.list("peers"))
    for (const toml::node& peer : *peers) record.peers.push_back(peer.value_or(std::string()));
  if (!fields.missing().empty())
    return fail(ErrorCode::kCorrupt, "missing or wrong: " + fields.missing());
  HOTBACKUP_ASSIGN(record.limit, read_limit(table["loss_limit"].as_table()));
  HOTBACKUP_TRY(read_tables(fields.list("pattern"), [&](Fields& f) {
    record.patterns.push_back({f.text("name"), f.text("path")});
    return f.missing();
  }));
  HOTBACKUP_TRY(read_tables(fields.list("environment"), [&](Fields& f) {
    EnvironmentRecord environment;
    environment.number = EnvironmentNumber(static_cast<std::uint32_t>(f.number("number")));
    environment.name = f.text("name");
    environment.configured = f.text("configured");
    environment.match = f.text("match");
    environment.path = f.text("path");
    environment.subdirectory = f.flag("directory");
    environment.unlogged_at = UpdateNumber(f.number_or("unlogged_at", 0));
    environment.came_with_data = f.number_or("came_with_data", 0) != 0;
    environment.quiet_txnid = TxnId(f.number_or("quiet_txnid", 0));
    environment.quiet_inode = f.number_or("quiet_inode", 0);
    record.environments.push_back(std::move(environment));
    return f.missing();
  }));
  HOTBACKUP_TRY(read_tables(fields.list("keep_local"), [&](Fields& f) {
    update::EnvironmentRules rules;
    rules.environment = f.text("environment");
    std::vector<std::string> texts;
    if (const toml::array* list = f.list("rules"))
      for (const toml::node& text : *list) texts.push_back(text.value_or(std::string()));
    auto parsed = update::KeepLocalRules::parse(texts);
    if (!parsed) return parsed.error().text();
    rules.rules = std::move(*parsed);
    record.keep_local.push_back(std::move(rules));
    return f.missing();
  }));
  return record;
}

}  // namespace

Result<GroupRecord> read_group_file(const std::string& group_directory) {
  const std::string path = group_directory + "/" + kGroupFileName;
  HOTBACKUP_ASSIGN(const auto text, os::read_file(path));
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    const auto& error = parsed.error();
    return fail(ErrorCode::kCorrupt, path + ":" + std::to_string(error.source().begin.line) + ":" +
                                         std::to_string(error.source().begin.column) + ": " +
                                         std::string(error.description()));
  }
  auto record = read_record(parsed.table());
  if (!record) return fail(std::move(record).error().with_context(path));
  return record;
}

Result<> write_group_file(const std::string& group_directory, const GroupRecord& record) {
  std::ostringstream out;
  out << "# Written by hotbackup; not edited by people. Format: docs/formats/group.md\n"
      << "id = \"" << (record.id.is_none() ? "" : record.id.to_hex()) << "\"\n"
      << "name = " << quoted(record.name) << "\n"
      << "node = " << quoted(record.node_name) << "\n"
      << "node_id = \"" << std::hex << record.node.value << std::dec << "\"\n"
      << "role = \"" << kRoleNames[static_cast<std::uint32_t>(record.role)] << "\"\n"
      << "master = " << quoted(record.master_name) << "\n"
      << "known_epoch = " << record.known_epoch.counter << "\n"
      << "known_epoch_node = \"" << std::hex << record.known_epoch.node.value << std::dec << "\"\n"
      << "wrote = " << (record.wrote || record.role == Role::kMaster ? "true" : "false") << "\n"
      << "boot_wait_ms = " << record.boot_wait_ms << "\n"
      << "lease_ms = " << record.lease_ms << "\n"
      << "uid = " << static_cast<std::uint32_t>(record.permissions.uid) << "\n"
      << "gid = " << static_cast<std::uint32_t>(record.permissions.gid) << "\n"
      << "mode = 0o" << std::oct << record.permissions.mode << std::dec << "\n"
      << "segment_bytes = " << record.segment_bytes << "\n"
      << "journal_bytes_max = " << record.journal_bytes_max << "\n"
      << "peers = [";
  for (std::size_t i = 0; i < record.peers.size(); ++i)
    out << (i == 0 ? "" : ", ") << quoted(record.peers[i]);
  out << "]\n";
  write_limit(out, record.limit);
  for (const PatternRecord& pattern : record.patterns)
    out << "\n[[pattern]]\nname = " << quoted(pattern.name) << "\npath = " << quoted(pattern.path)
        << "\n";
  for (const EnvironmentRecord& environment : record.environments) {
    out << "\n[[environment]]\nnumber = " << environment.number.value
        << "\nname = " << quoted(environment.name)
        << "\nconfigured = " << quoted(environment.configured)
        << "\nmatch = " << quoted(environment.match) << "\npath = " << quoted(environment.path)
        << "\ndirectory = " << (environment.subdirectory ? "true" : "false") << "\n";
    if (environment.unlogged_at.value != 0)
      out << "unlogged_at = " << environment.unlogged_at.value << "\n";
    if (environment.came_with_data) out << "came_with_data = 1\n";
    if (environment.quiet_txnid.value != 0)
      out << "quiet_txnid = " << environment.quiet_txnid.value
          << "\nquiet_inode = " << environment.quiet_inode << "\n";
  }
  for (const update::EnvironmentRules& kept : record.keep_local) {
    out << "\n[[keep_local]]\nenvironment = " << quoted(kept.environment) << "\nrules = [";
    const std::vector<std::string> texts = kept.rules.texts();
    for (std::size_t i = 0; i < texts.size(); ++i) out << (i == 0 ? "" : ", ") << quoted(texts[i]);
    out << "]\n";
  }
  os::Permissions permissions = record.permissions;
  return os::replace_file(group_directory + "/" + kGroupFileName, out.str(), permissions);
}

}  // namespace hotbackup::control
