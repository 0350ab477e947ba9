// SPDX-License-Identifier: Apache-2.0
// A program that knows nothing of hotbackup. Run with LD_PRELOAD it is captured.
//
//   put PATH KEY VALUE | write PATH… --threads N --transactions N --name NAME
#include <lmdb.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

MDB_env* open_env(const char* path) {
  MDB_env* env = nullptr;
  if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, 256u << 20) != 0 ||
      mdb_env_set_maxdbs(env, 32) != 0 || mdb_env_open(env, path, 0, 0644) != 0)
    std::exit(20);
  return env;
}

int put(MDB_env* env, MDB_dbi dbi, const std::string& key, const std::string& value) {
  MDB_txn* txn = nullptr;
  if (const int rc = mdb_txn_begin(env, nullptr, 0, &txn); rc != 0) return rc;
  MDB_val k{key.size(), const_cast<char*>(key.data())};
  MDB_val v{value.size(), const_cast<char*>(value.data())};
  if (const int rc = mdb_put(txn, dbi, &k, &v, 0); rc != 0) {
    mdb_txn_abort(txn);
    return rc;
  }
  return mdb_txn_commit(txn);
}

MDB_dbi open_users(MDB_env* env) {
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  if (mdb_txn_begin(env, nullptr, 0, &txn) != 0 ||
      mdb_dbi_open(txn, "users", MDB_CREATE, &dbi) != 0 || mdb_txn_commit(txn) != 0)
    std::exit(21);
  return dbi;
}

int write(const std::vector<std::string>& paths, int threads, int transactions,
          const std::string& name) {
  struct Target {
    MDB_env* env;
    MDB_dbi users;
  };
  std::vector<Target> targets;
  for (const std::string& path : paths) {
    MDB_env* const env = open_env(path.c_str());
    targets.push_back({env, open_users(env)});
  }
  std::atomic<int> failed{0};
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      for (int n = 0; n < transactions; ++n) {
        const Target& target = targets[static_cast<std::size_t>(n + t) % targets.size()];
        const std::string key = name + "-" + std::to_string(t) + "-" + std::to_string(n % 50);
        if (put(target.env, target.users, key, std::to_string(n)) != 0) failed.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  for (const Target& target : targets) mdb_env_close(target.env);
  return failed.load() == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "put") {
    MDB_env* const env = open_env(argv[2]);
    const int rc = put(env, open_users(env), arguments[2], arguments[3]);
    mdb_env_close(env);
    return rc == 0 ? 0 : 1;
  }
  std::vector<std::string> paths;
  std::string name = "w";
  int threads = 1, transactions = 1;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    if (arguments[i] == "--threads")
      threads = std::atoi(arguments[++i].c_str());
    else if (arguments[i] == "--transactions")
      transactions = std::atoi(arguments[++i].c_str());
    else if (arguments[i] == "--name")
      name = arguments[++i];
    else
      paths.push_back(arguments[i]);
  }
  return write(paths, threads, transactions, name);
}
