// SPDX-License-Identifier: Apache-2.0
// The measured program: an ordinary LMDB writer that knows nothing of hotbackup. The bench script
// runs it plain and under capture. With --copy it also measures lag: after each commit it looks at
// the copy until the item is visible there.
#include <fcntl.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string environment;
  std::string copy;
  std::uint64_t transactions = 2000;
  std::uint64_t puts = 1;
  std::uint64_t key_space = 1'000'000;
  std::size_t value_bytes = 100;
  bool random_keys = false;
  bool no_sync = false;
  std::uint64_t map_bytes = std::uint64_t{4} << 30;
};

void require(int rc, const char* what) {
  if (rc == 0) return;
  std::fprintf(stderr, "%s: %s\n", what, ::mdb_strerror(rc));
  std::exit(1);
}

MDB_env* open_environment(const std::string& path, unsigned flags, std::uint64_t map_bytes) {
  MDB_env* env = nullptr;
  require(::mdb_env_create(&env), "mdb_env_create");
  require(::mdb_env_set_mapsize(env, map_bytes), "mdb_env_set_mapsize");
  require(::mdb_env_set_maxdbs(env, 4), "mdb_env_set_maxdbs");
  require(::mdb_env_open(env, path.c_str(), flags, 0644), path.c_str());
  return env;
}

double percentile(std::vector<double>& values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<std::size_t>(p * static_cast<double>(values.size())))];
}

double microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

/// Looks at the copy with read transactions, as its applications do.
class CopyReader {
 public:
  explicit CopyReader(const Options& options)
      : env_(open_environment(options.copy, MDB_RDONLY, options.map_bytes)) {
    require(::mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn_), "begin on the copy");
    require(::mdb_dbi_open(txn_, nullptr, 0, &dbi_), "open the copy's main database");
    ::mdb_txn_reset(txn_);
  }
  ~CopyReader() {
    ::mdb_txn_abort(txn_);
    ::mdb_env_close(env_);
  }
  CopyReader(const CopyReader&) = delete;
  CopyReader& operator=(const CopyReader&) = delete;

  /// True when the copy shows this value for the key within five seconds.
  bool wait_for(MDB_val key, const MDB_val& value) {
    const auto deadline = Clock::now() + std::chrono::seconds(5);
    while (Clock::now() < deadline) {
      require(::mdb_txn_renew(txn_), "renew on the copy");
      MDB_val found;
      const int rc = ::mdb_get(txn_, dbi_, &key, &found);
      const bool same = rc == 0 && found.mv_size == value.mv_size &&
                        std::memcmp(found.mv_data, value.mv_data, value.mv_size) == 0;
      ::mdb_txn_reset(txn_);
      if (same) return true;
      std::this_thread::yield();
    }
    return false;
  }

 private:
  MDB_env* env_;
  MDB_txn* txn_ = nullptr;
  MDB_dbi dbi_ = 0;
};

class Writer {
 public:
  explicit Writer(const Options& options) : options_(options), value_(options.value_bytes, 'v') {
    ::mkdir(options.environment.c_str(), 0755);
    env_ =
        open_environment(options.environment, options.no_sync ? MDB_NOSYNC : 0, options.map_bytes);
    MDB_txn* txn = nullptr;
    require(::mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
    require(::mdb_dbi_open(txn, nullptr, 0, &dbi_), "open the main database");
    require(::mdb_txn_commit(txn), "commit");
  }
  ~Writer() { ::mdb_env_close(env_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// One transaction; afterwards last_key() and last_value() are what it wrote last.
  void transaction() {
    MDB_txn* txn = nullptr;
    require(::mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
    for (std::uint64_t i = 0; i < options_.puts; ++i) {
      const std::uint64_t number = ++count_;
      const std::uint64_t key = options_.random_keys ? random_() % options_.key_space : number;
      key_ = __builtin_bswap64(key);
      std::memcpy(value_.data(), &number, std::min(value_.size(), sizeof number));
      MDB_val k = last_key();
      MDB_val v = last_value();
      require(::mdb_put(txn, dbi_, &k, &v, 0), "put");
    }
    require(::mdb_txn_commit(txn), "commit");
  }
  MDB_val last_key() { return {sizeof key_, &key_}; }
  MDB_val last_value() { return {value_.size(), value_.data()}; }

 private:
  const Options& options_;
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
  std::uint64_t key_ = 0;
  std::uint64_t count_ = 0;
  std::string value_;
  std::mt19937_64 random_{42};
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("writes transactions to an LMDB environment and prints how long they took, as JSON");
  app.add_option("--env", options.environment, "directory of the environment")->required();
  app.add_option("--copy", options.copy, "directory of the slave's copy: measure lag");
  app.add_option("--transactions", options.transactions);
  app.add_option("--puts", options.puts, "puts in a transaction");
  app.add_option("--keys", options.key_space, "how many different keys --random draws from");
  app.add_option("--value-bytes", options.value_bytes);
  app.add_flag("--random", options.random_keys, "random keys; otherwise ascending");
  app.add_flag("--no-sync", options.no_sync, "open with MDB_NOSYNC");
  CLI11_PARSE(app, argc, argv);

  Writer writer(options);
  std::vector<double> commits;
  std::vector<double> lags;
  writer.transaction();  // what is made on first use is not measured
  std::optional<CopyReader> copy;
  if (!options.copy.empty()) copy.emplace(options);
  const auto start = Clock::now();
  for (std::uint64_t i = 0; i < options.transactions; ++i) {
    const auto begin = Clock::now();
    writer.transaction();
    const auto returned = Clock::now();
    commits.push_back(microseconds(returned - begin));
    if (!copy) continue;
    if (!copy->wait_for(writer.last_key(), writer.last_value())) {
      std::fprintf(stderr, "transaction %lu is not visible in the copy after 5 s\n",
                   static_cast<unsigned long>(i));
      return 1;
    }
    lags.push_back(microseconds(Clock::now() - returned));
  }
  const double seconds = microseconds(Clock::now() - start) / 1e6;
  std::printf(
      "{\"seconds\": %.6f, \"rate\": %.1f, \"commit_p50_us\": %.1f, \"commit_p99_us\": %.1f",
      seconds, static_cast<double>(options.transactions) / seconds, percentile(commits, 0.50),
      percentile(commits, 0.99));
  if (copy)
    std::printf(", \"lag_p50_us\": %.1f, \"lag_p99_us\": %.1f, \"lag_max_us\": %.1f",
                percentile(lags, 0.50), percentile(lags, 0.99), percentile(lags, 1.0));
  std::printf("}\n");
  return 0;
}
