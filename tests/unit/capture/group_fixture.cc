// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/capture/group_fixture.h"

#include <doctest/doctest.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "common/base/bytes.h"
#include "common/update/codec.h"

extern char** environ;

namespace hotbackup::test {

GroupFixture::GroupFixture(control::Role role, std::uint64_t segment_bytes,
                           const std::string& journal_directory) {
  REQUIRE(::mkdir(group_path().c_str(), 0755) == 0);
  const std::string journal = group_path() + "/journal";
  const std::string made = journal_directory.empty() ? journal : journal_directory;
  REQUIRE(::mkdir(made.c_str(), 0755) == 0);
  if (made != journal) REQUIRE(::symlink(made.c_str(), journal.c_str()) == 0);
  REQUIRE(::mkdir(data().c_str(), 0755) == 0);
  REQUIRE(::symlink(group_path().c_str(), (data() + "/.hotbackup").c_str()) == 0);
  control::GroupRecord record;
  record.id = *GroupId::from_hex("00112233445566778899aabbccddeeff");
  record.name = "test";
  record.node_name = "paris";
  record.node = NodeId(77);
  record.role = role;
  record.segment_bytes = segment_bytes;
  record.patterns = {{"env", data() + "/env*"}};
  REQUIRE(control::write_group_file(group_path(), record));
  auto opened = control::Group::open(group_path());
  REQUIRE(opened);
  group_ = std::move(*opened);
  if (role != control::Role::kMaster) return;
  const Epoch epoch{1, record.node};
  journal::FrameHeader fields;
  fields.epoch = epoch;
  auto lock = group_->journal().lock();
  REQUIRE(group_->journal().append_control(*lock, journal::FrameKind::kEpoch,
                                           update::write_epoch({epoch, "paris"}), fields));
  group_->set_epoch(epoch);
}

std::string GroupFixture::environment_directory(const std::string& name) {
  const std::string path = data() + "/" + name;
  REQUIRE(::mkdir(path.c_str(), 0755) == 0);
  REQUIRE(::symlink(group_path().c_str(), (path + "/.hotbackup").c_str()) == 0);
  return path;
}

void GroupFixture::set_role(control::Role role) {
  group_->layout().role.store(static_cast<std::uint32_t>(role));
}

void GroupFixture::keep_local(const std::vector<std::string>& rules) {
  auto record = control::read_group_file(group_path());
  auto parsed = update::KeepLocalRules::parse(rules);
  REQUIRE(record);
  REQUIRE(parsed);
  record->keep_local = {{"env", *parsed}};
  REQUIRE(group_->add_configured(*record));
}

namespace {

std::string describe(const update::Operation& operation) {
  const update::Database& database = operation.database;
  std::string line(update::operation_kind_name(operation.kind));
  line += " " + (database.main ? "(main)" : std::string(database.name));
  using Kind = update::OperationKind;
  if (operation.kind == Kind::kCreate) return line + " flags=" + std::to_string(database.flags);
  if (operation.kind == Kind::kClear || operation.kind == Kind::kDrop) return line;
  if (operation.kind == Kind::kValuePart)
    return line + " " + std::to_string(operation.value.size());
  line += " " + printable(operation.key);
  if (operation.kind == Kind::kPutLarge) return line + " " + std::to_string(operation.value_bytes);
  if (operation.kind != Kind::kDeleteKey) line += "=" + printable(operation.value);
  return line;
}

}  // namespace

std::vector<GroupFixture::Update> GroupFixture::updates() {
  std::vector<Update> found;
  journal::Reader reader(group_->journal_directory(), group_->id());
  REQUIRE(reader.seek(UpdateNumber(1)));
  const UpdateNumber end = group_->made();
  while (reader.next_number() <= end) {
    auto frame = reader.next(end);
    REQUIRE(frame);
    REQUIRE(frame->has_value());
    const journal::FrameHeader& header = (*frame)->header;
    if (header.part == 0)
      found.push_back(
          {header.number, header.environment, header.kind, header.txnid, false, false, {}});
    Update& update = found.back();
    update.is_void |= header.is_void();
    update.kept_local |= header.kept_local;
    if (header.kind != journal::FrameKind::kUpdate) continue;
    REQUIRE(update::read_body((*frame)->body, [&](const update::Operation& operation) -> Result<> {
      update.operations.push_back(describe(operation));
      return {};
    }));
  }
  return found;
}

std::vector<std::string> GroupFixture::last_operations() {
  const std::vector<Update> all = updates();
  REQUIRE_FALSE(all.back().is_void);
  REQUIRE(all.back().kind == journal::FrameKind::kUpdate);
  return all.back().operations;
}

namespace {

DatabaseContent items_of(MDB_txn* txn, MDB_dbi dbi, std::set<std::string>* named) {
  DatabaseContent content;
  REQUIRE(mdb_dbi_flags(txn, dbi, &content.flags) == 0);
  MDB_cursor* cursor = nullptr;
  REQUIRE(mdb_cursor_open(txn, dbi, &cursor) == 0);
  MDB_val key{}, value{};
  for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); rc == 0;
       rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
    MDB_dbi found = 0;
    const bool may_be_database = named != nullptr && value.mv_size == 48 &&
                                 (content.flags & (MDB_DUPSORT | MDB_INTEGERKEY)) == 0 &&
                                 text(key).find('\0') == std::string::npos;
    if (may_be_database && mdb_dbi_open(txn, text(key).c_str(), 0, &found) == 0)
      named->insert(text(key));
    else
      content.items.emplace(text(key), text(value));
  }
  mdb_cursor_close(cursor);
  return content;
}

}  // namespace

Content content_of(MDB_env* env) {
  MDB_txn* txn = nullptr;
  REQUIRE(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn) == 0);
  Content content;
  std::set<std::string> named;
  content[""] = items_of(txn, 1, &named);
  for (const std::string& name : named) {
    MDB_dbi dbi = 0;
    REQUIRE(mdb_dbi_open(txn, name.c_str(), 0, &dbi) == 0);
    content[name] = items_of(txn, dbi, nullptr);
  }
  mdb_txn_abort(txn);
  return content;
}

std::string explain(const Content& a, const Content& b) {
  for (const auto& [name, left] : a) {
    const auto right = b.find(name);
    if (right == b.end()) return "only the first has database '" + name + "'";
    if (left.flags != right->second.flags)
      return "'" + name + "': flags " + std::to_string(left.flags) + " and " +
             std::to_string(right->second.flags);
    for (const auto& item : left.items)
      if (!right->second.items.contains(item))
        return "'" + name + "': only the first has " + printable(item.first) + "=" +
               printable(item.second).substr(0, 80);
    for (const auto& item : right->second.items)
      if (!left.items.contains(item))
        return "'" + name + "': only the second has " + printable(item.first) + "=" +
               printable(item.second).substr(0, 80);
  }
  for (const auto& [name, right] : b)
    if (!a.contains(name)) return "only the second has database '" + name + "'";
  return {};
}

namespace {

lmdb::Environment open_copy(const std::string& path) {
  REQUIRE(::mkdir(path.c_str(), 0755) == 0);
  lmdb::OpenOptions options;
  options.path = path;
  options.map_bytes = 1 << 30;
  options.no_sync = true;
  options.max_databases = 32;
  auto environment = lmdb::Environment::open(options);
  REQUIRE(environment);
  return std::move(*environment);
}

}  // namespace

Copy::Copy(GroupFixture& fixture, EnvironmentNumber environment, const std::string& path)
    : fixture_(fixture), number_(environment), environment_(open_copy(path)) {}

void Copy::replay() {
  control::Group& group = fixture_.group();
  const UpdateNumber end = group.decided();
  if (next_ > end) return;
  journal::Reader reader(group.journal_directory(), group.id());
  REQUIRE(reader.seek(next_));
  lmdb::OperationApplier applier(handles_);
  std::optional<lmdb::Transaction> txn;
  while (reader.next_number() <= end) {
    auto frame = reader.next(end);
    REQUIRE(frame);
    REQUIRE(frame->has_value());
    const journal::FrameHeader& header = (*frame)->header;
    if (header.kind != journal::FrameKind::kUpdate || header.environment != number_) continue;
    if (header.part == 0) {
      auto begun = lmdb::Transaction::begin(environment_, false);
      REQUIRE(begun);
      txn.emplace(std::move(*begun));
      applier.reset();
    }
    auto applied = update::read_body((*frame)->body, [&](const update::Operation& operation) {
      return applier.apply(*txn, operation);
    });
    if (!applied) FAIL("update " << header.number.value << ": " << applied.error().text());
    if (!header.last_part) continue;
    if (header.is_void()) {
      txn->abort();
      handles_.forget();
    } else {
      REQUIRE(txn->commit());
    }
  }
  next_ = end.next();
}

MDB_env* open_env(const std::string& path, unsigned flags) {
  MDB_env* env = nullptr;
  REQUIRE(mdb_env_create(&env) == 0);
  REQUIRE(mdb_env_set_mapsize(env, 256u << 20) == 0);
  REQUIRE(mdb_env_set_maxdbs(env, 32) == 0);
  REQUIRE(mdb_env_open(env, path.c_str(), flags, 0644) == 0);
  return env;
}

std::string helper(const std::string& name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

pid_t start_program(const std::vector<std::string>& arguments, const Variables& variables) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<std::string> settings;
  for (char** entry = environ; *entry != nullptr; ++entry) settings.emplace_back(*entry);
  for (const auto& [name, value] : variables) settings.push_back(name + "=" + value);
  std::vector<char*> envp;
  for (std::string& setting : settings) envp.push_back(setting.data());
  envp.push_back(nullptr);
  pid_t pid = 0;
  REQUIRE(::posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), envp.data()) == 0);
  return pid;
}

int wait_for_end(pid_t pid) {
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace hotbackup::test
