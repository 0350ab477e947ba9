// SPDX-License-Identifier: Apache-2.0
// For test_loss_limit: an LMDB writer that keeps the numbers it was told of, and a watcher that
// counts at every instant how many of them no slave has acknowledged.
//
//   limit_program write ENVIRONMENT RECORD     until it is ended; a refused commit is tried again
//   limit_program watch GROUP RECORD…          until end of input; prints "most N samples M"
#include <dlfcn.h>
#include <fcntl.h>
#include <lmdb.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "common/control/group.h"

namespace {

constexpr std::uint64_t kNumbersMax = 1 << 20;

/// Shared memory in a file, so that it survives the writer's death.
struct Record {
  std::atomic<std::uint64_t> count;
  std::atomic<std::uint64_t> numbers[kNumbersMax];
};

Record* open_record(const char* path) {
  const int fd = ::open(path, O_RDWR | O_CREAT, 0666);
  if (fd < 0 || ::ftruncate(fd, sizeof(Record)) != 0) return nullptr;
  void* memory = ::mmap(nullptr, sizeof(Record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Record*>(memory);
}

int write_on(const char* path, Record& record) {
  using LastUpdate = std::uint64_t (*)(MDB_env*);
  const auto last_update =
      reinterpret_cast<LastUpdate>(::dlsym(RTLD_DEFAULT, "hotbackup_last_update"));
  MDB_env* env = nullptr;
  if (last_update == nullptr || mdb_env_create(&env) != 0) return 2;
  mdb_env_set_mapsize(env, std::size_t{1} << 30);
  if (mdb_env_open(env, path, 0, 0644) != 0) return 3;
  for (std::uint64_t i = 0; record.count.load() < kNumbersMax; ++i) {
    MDB_txn* txn = nullptr;
    MDB_dbi dbi = 0;
    if (mdb_txn_begin(env, nullptr, 0, &txn) != 0 || mdb_dbi_open(txn, nullptr, 0, &dbi) != 0)
      return 4;
    std::string key = std::to_string(::getpid()) + "-" + std::to_string(i % 1000);
    std::string value = std::to_string(i) + std::string(i % 200, 'v');
    MDB_val k{key.size(), key.data()}, v{value.size(), value.data()};
    if (mdb_put(txn, dbi, &k, &v, 0) != 0) return 5;
    const int rc = mdb_txn_commit(txn);
    if (rc == EAGAIN) {
      std::this_thread::yield();
      continue;
    }
    if (rc != 0) return 6;
    const std::uint64_t at = record.count.load();
    record.numbers[at].store(last_update(env));
    record.count.store(at + 1);
  }
  return 0;
}

int watch(const char* group_path, std::vector<Record*> records) {
  auto group = hotbackup::control::Group::open(group_path);
  if (!group) return 2;
  const hotbackup::control::Exposure exposure = (*group)->exposure();
  std::vector<std::uint64_t> seen(records.size());
  std::vector<char> told;
  std::uint64_t most = 0, samples = 0;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (::poll(&input, 1, 0) == 0) {
    for (int round = 0; round < 1000; ++round) {
      const std::uint64_t acknowledged = exposure.acknowledged();
      const std::uint64_t returned = exposure.returned();
      for (std::size_t r = 0; r < records.size(); ++r)
        for (const std::uint64_t count = records[r]->count.load(); seen[r] < count; ++seen[r]) {
          const std::uint64_t number = records[r]->numbers[seen[r]].load();
          if (told.size() <= number) told.resize(number + 1000);
          told[number] = 1;
        }
      if (exposure.acknowledged() != acknowledged) continue;  // not one instant
      std::uint64_t exposed = 0;
      for (std::uint64_t n = acknowledged + 1; n < told.size(); ++n)
        exposed += static_cast<std::uint64_t>(told[n]);
      if (returned > acknowledged) exposed = std::max(exposed, returned - acknowledged);
      most = std::max(most, exposed);
      ++samples;
    }
  }
  std::printf("most %lu samples %lu\n", static_cast<unsigned long>(most),
              static_cast<unsigned long>(samples));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 1;
  std::vector<Record*> records;
  for (int i = 3; i < argc; ++i) {
    records.push_back(open_record(argv[i]));
    if (records.back() == nullptr) return 1;
  }
  return std::string(argv[1]) == "write" ? write_on(argv[2], *records[0]) : watch(argv[2], records);
}
