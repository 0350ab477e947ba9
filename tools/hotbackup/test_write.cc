// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/test_write.h"

#include <dlfcn.h>
#include <lmdb.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "common/control/group_file.h"
#include "common/control/test_environment.h"
#include "common/lmdb/environment.h"
#include "common/os/ownership.h"
#include "tools/hotbackup/capture_library.h"
#include "tools/hotbackup/capture_link.h"

namespace hotbackup::cli {
namespace {

using std::chrono::steady_clock;

std::string in_shell(const std::string& word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// The environment's directory. It joins the group when it is first opened under capture, and a
/// node that was slave has it as a copy.
Result<std::string> test_environment(control::Group& group) {
  for (std::uint32_t n = 1; n <= group.environment_count(); ++n)
    if (const auto* entry = group.environment(EnvironmentNumber(n));
        entry != nullptr && control::is_test_environment(entry->name))
      return std::string(entry->path);
  const std::string path = group.directory() + "/test";
  os::Permissions inside = group.permissions();
  inside.mode |= 0700 | (inside.mode & 0444) >> 2;
  HOTBACKUP_TRY(os::make_directories(path, inside));
  HOTBACKUP_TRY(place_capture_link(path, group.directory()));
  HOTBACKUP_ASSIGN(auto record, control::read_group_file(group.directory()));
  std::error_code error;
  const std::string canonical = std::filesystem::canonical(path, error).native();
  if (error) return fail_errno("looking at " + path, error.value());
  record.patterns.push_back({control::kTestEnvironment, canonical});
  HOTBACKUP_TRY(group.add_configured(record));
  return canonical;
}

struct WriteOptions {
  std::string path;
  std::string value;
};

int say(const char* what, int rc) {
  std::printf("%s: %s\n", what, mdb_strerror(rc));
  return kFailed;
}

/// Plain LMDB, as an application has it.
Result<int> write(const WriteOptions& options) {
  using LastUpdate = std::uint64_t (*)(MDB_env*);
  // Of the library in front of LMDB, if there is one.
  const auto last_update =
      reinterpret_cast<LastUpdate>(::dlsym(RTLD_DEFAULT, "hotbackup_last_update"));
  if (last_update == nullptr) {
    std::printf("the capture library is not loaded\n");
    return kFailed;
  }
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi main = 0;
  const std::string key = control::kTestKey;
  std::string value = options.value;
  MDB_val k = lmdb::to_val(key);
  MDB_val v = lmdb::to_val(value);
  if (const int rc = mdb_env_create(&env); rc != 0) return say("opening", rc);
  if (const int rc = mdb_env_open(env, options.path.c_str(), 0, 0660); rc != 0)
    return say("opening the test environment", rc);
  const auto begun = steady_clock::now().time_since_epoch();
  if (const int rc = mdb_txn_begin(env, nullptr, 0, &txn); rc != 0)
    return say("beginning a transaction", rc);
  int rc = mdb_dbi_open(txn, nullptr, 0, &main);
  if (rc == 0) rc = mdb_put(txn, main, &k, &v, 0);
  if (rc != 0) {
    mdb_txn_abort(txn);
    return say("writing", rc);
  }
  if (rc = mdb_txn_commit(txn); rc != 0) return say("the commit", rc);
  const std::uint64_t number = last_update(env);
  mdb_env_close(env);
  if (number == 0) {
    std::printf("the commit was not captured\n");
    return kFailed;
  }
  std::printf(
      "%llu %lld\n", static_cast<unsigned long long>(number),
      static_cast<long long>(std::chrono::duration_cast<std::chrono::nanoseconds>(begun).count()));
  return kDone;
}

}  // namespace

Result<Written> write_test_update(control::Group& group, const std::string& value) {
  HOTBACKUP_ASSIGN(const std::string library, capture_library());
  HOTBACKUP_ASSIGN(const std::string path, test_environment(group));
  const std::string command = "export LD_PRELOAD=" + in_shell(library) + "; exec /proc/" +
                              std::to_string(::getpid()) + "/exe test-write " + in_shell(path) +
                              " " + in_shell(value) + " 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) return fail_errno("starting the process that writes");
  std::string said;
  char piece[512];
  while (const std::size_t got = std::fread(piece, 1, sizeof piece, pipe)) said.append(piece, got);
  const int ended = ::pclose(pipe);
  unsigned long long number = 0;
  long long begun = 0;
  if (ended != 0 || std::sscanf(said.c_str(), "%llu %lld", &number, &begun) != 2) {
    while (!said.empty() && said.back() == '\n') said.pop_back();
    return fail(ErrorCode::kIo, "the test update could not be written: " + said);
  }
  return Written{UpdateNumber(number), steady_clock::time_point(std::chrono::nanoseconds(begun))};
}

void add_test_write(CLI::App& app, Session& session) {
  auto options = std::make_shared<WriteOptions>();
  auto* command = app.add_subcommand("test-write", "")->group("");
  command->add_option("PATH", options->path)->required();
  command->add_option("VALUE", options->value)->required();
  command->callback(
      [&session, options] { session.action = [options] { return write(*options); }; });
}

}  // namespace hotbackup::cli
