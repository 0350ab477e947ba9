// SPDX-License-Identifier: Apache-2.0
// A program under capture that writes random transactions until it is killed, and says in a file
// what it is about to commit and what became of it, for the oracle. It knows nothing of hotbackup.
//
//   crash_writer ORACLE COUNTER LIFE SEED TRANSACTIONS ENVIRONMENT MAPSIZE [ENVIRONMENT MAPSIZE]
//   crash_writer read ENVIRONMENT…      only reads everything
//
// Lines of ORACLE, one write each: "P life seq environment order op…" before a commit and
// "R life seq code" after it. COUNTER is shared memory that numbers transactions in the order in
// which they hold LMDB's writer lock. Ops: p:db:key:part:length put, d:db:key delete,
// a:db:key:value and r:db:key:value add and remove a duplicate, e:db empties a database; of
// nested transactions only what joined. Every transaction also puts marks[life] = seq.
#include <fcntl.h>
#include <lmdb.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr int kKeys = 150;

struct Environment {
  MDB_env* env = nullptr;
  MDB_dbi plain = 0, dups = 0, marks = 0;
  bool tight = false;
};

struct Program {
  int oracle = -1;
  std::atomic<std::uint64_t>* counter = nullptr;
  std::string life;
  std::mt19937_64 random;
  std::vector<Environment> environments;
  std::uint64_t seq = 0;

  int below(int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); }
};

[[noreturn]] void stop(const char* what, int rc) {
  std::fprintf(stderr, "crash_writer: %s: %s\n", what, mdb_strerror(rc));
  std::_Exit(rc == MDB_PANIC ? 3 : 1);
}

void say(const Program& program, const std::string& line) {
  if (::write(program.oracle, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    stop("the oracle's file", errno);
}

std::string value_of(const Program& program, int part, int length) {
  const std::string piece =
      program.life + "." + std::to_string(program.seq) + "." + std::to_string(part) + "/";
  std::string value;
  while (value.size() < static_cast<std::size_t>(length)) value += piece;
  value.resize(static_cast<std::size_t>(length));
  return value;
}

MDB_val view(const std::string& text) {
  return {text.size(), const_cast<char*>(text.data())};
}

/// Opens as a reader and reads every item of every database.
void read_all(const char* path) {
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  int rc = mdb_env_create(&env);
  if (rc == 0) rc = mdb_env_set_maxdbs(env, 8);
  if (rc == 0) rc = mdb_env_open(env, path, MDB_RDONLY, 0644);
  // An empty data file is one that LMDB has not begun: a reader fails to write its meta pages.
  if (rc == ENOENT || rc == EBADF) return;
  if (rc == 0) rc = mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn);
  if (rc != 0) stop(path, rc);
  for (const char* name : {"plain", "dups", "marks"}) {
    MDB_dbi dbi = 0;
    rc = mdb_dbi_open(txn, name, 0, &dbi);
    if (rc == MDB_NOTFOUND) continue;
    MDB_cursor* cursor = nullptr;
    if (rc == 0) rc = mdb_cursor_open(txn, dbi, &cursor);
    MDB_val key, value;
    while (rc == 0) rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    if (rc != MDB_NOTFOUND) stop(name, rc);
    mdb_cursor_close(cursor);
  }
  mdb_txn_abort(txn);
  mdb_env_close(env);
}

/// Opens its databases in a transaction that a writer logs like any other.
void open(Program& program, const char* path, std::size_t map_bytes) {
  Environment opened;
  opened.tight = map_bytes < (1 << 20);
  int rc = mdb_env_create(&opened.env);
  if (rc == 0) rc = mdb_env_set_mapsize(opened.env, map_bytes);
  if (rc == 0) rc = mdb_env_set_maxdbs(opened.env, 8);
  if (rc == 0) rc = mdb_env_open(opened.env, path, 0, 0644);
  if (rc != 0) stop(path, rc);
  for (int tries = 0;; ++tries) {
    MDB_txn* txn = nullptr;
    rc = mdb_txn_begin(opened.env, nullptr, 0, &txn);
    if (rc != 0) stop("begin", rc);
    rc = mdb_dbi_open(txn, "plain", MDB_CREATE, &opened.plain);
    if (rc == 0) rc = mdb_dbi_open(txn, "dups", MDB_CREATE | MDB_DUPSORT, &opened.dups);
    if (rc == 0) rc = mdb_dbi_open(txn, "marks", MDB_CREATE, &opened.marks);
    if (rc == 0) {
      rc = mdb_txn_commit(txn);
    } else {
      mdb_txn_abort(txn);
    }
    if (rc == 0) break;
    if (rc == MDB_PANIC || tries == 200) stop("making the databases", rc);
    ::usleep(2000);
  }
  program.environments.push_back(opened);
}

/// One change; what happened is added to `ops`. Returns LMDB's code unless the item was absent.
int change(Program& program, Environment& at, MDB_txn* txn, int part, std::string& ops) {
  const std::string key = "k" + std::to_string(program.below(kKeys));
  MDB_val k = view(key);
  int rc = 0;
  const int kind = program.below(20);
  if (kind < 10) {
    const int length = program.below(30) == 0 ? 3000 + program.below(4000) : program.below(500);
    const std::string value = value_of(program, part, length);
    MDB_val v = view(value);
    rc = mdb_put(txn, at.plain, &k, &v, 0);
    if (rc == 0) {
      ops += " p:plain:" + key + ":" + std::to_string(part) + ":" + std::to_string(length);
    }
  } else if (kind < 13) {
    rc = mdb_del(txn, at.plain, &k, nullptr);
    if (rc == 0) ops += " d:plain:" + key;
  } else {
    const std::string value = "v" + std::to_string(program.below(6));
    MDB_val v = view(value);
    if (kind < 18) {
      rc = mdb_put(txn, at.dups, &k, &v, MDB_NODUPDATA);
      if (rc == 0) ops += " a:dups:" + key + ":" + value;
    } else if (kind < 19) {
      rc = mdb_del(txn, at.dups, &k, &v);
      if (rc == 0) ops += " r:dups:" + key + ":" + value;
    } else {
      rc = mdb_del(txn, at.dups, &k, nullptr);
      if (rc == 0) ops += " d:dups:" + key;
    }
  }
  return rc == MDB_NOTFOUND || rc == MDB_KEYEXIST ? 0 : rc;
}

int change_nested(Program& program, Environment& at, MDB_txn* parent, int part, std::string& ops) {
  MDB_txn* txn = nullptr;
  int rc = mdb_txn_begin(at.env, parent, 0, &txn);
  if (rc != 0) return rc;
  std::string inside;
  for (int i = program.below(4); i >= 0 && rc == 0; --i)
    rc = change(program, at, txn, part + i, inside);
  if (rc != 0 || program.below(3) == 0) {
    mdb_txn_abort(txn);
    return rc == MDB_MAP_FULL ? 0 : rc;
  }
  rc = mdb_txn_commit(txn);
  if (rc == 0) ops += inside;
  return rc;
}

/// Makes the changes of one transaction; a refused one does not stop it from being committed.
void fill(Program& program, Environment& at, MDB_txn* txn, std::string& ops) {
  const bool large = at.tight && program.below(8) == 0;
  const int changes = large ? 150 : program.below(10);
  if (at.tight && program.below(40) == 0 && mdb_drop(txn, at.plain, 0) == 0) ops += " e:plain";
  for (int i = 0; i < changes; ++i) {
    const int rc = program.below(12) == 0 ? change_nested(program, at, txn, i * 10, ops)
                                          : change(program, at, txn, i * 10, ops);
    if (rc != 0) break;
  }
}

/// One transaction from begin to its end; LMDB's code of the commit, 0 for an abort.
int transact(Program& program) {
  const int which = program.below(static_cast<int>(program.environments.size()));
  Environment& at = program.environments[static_cast<std::size_t>(which)];
  MDB_txn* txn = nullptr;
  const int begun = mdb_txn_begin(at.env, nullptr, 0, &txn);
  if (begun != 0) return begun;
  const std::uint64_t order = program.counter->fetch_add(1);
  ++program.seq;
  const std::string seq = std::to_string(program.seq);
  std::string ops;
  MDB_val k = view(program.life);
  MDB_val v = view(seq);
  if (mdb_put(txn, at.marks, &k, &v, 0) != 0) return mdb_txn_commit(txn);  // nothing happened
  fill(program, at, txn, ops);
  if (program.below(10) == 0) {
    mdb_txn_abort(txn);
    return 0;
  }
  const std::string head = program.life + " " + seq + " ";
  say(program, "P " + head + std::to_string(which) + " " + std::to_string(order) + ops + "\n");
  const int rc = mdb_txn_commit(txn);
  say(program, "R " + head + std::to_string(rc) + "\n");
  return rc;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && std::string(argv[1]) == "read") {
    for (int i = 2; i < argc; ++i) read_all(argv[i]);
    return 0;
  }
  if (argc < 8 || argc % 2 != 0) {
    std::fprintf(stderr,
                 "usage: crash_writer ORACLE COUNTER LIFE SEED TRANSACTIONS "
                 "ENVIRONMENT MAPSIZE [ENVIRONMENT MAPSIZE]\n");
    return 2;
  }
  Program program;
  program.oracle = ::open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const int counter = ::open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (program.oracle < 0 || counter < 0 || ::ftruncate(counter, 4096) != 0) return 2;
  program.counter = static_cast<std::atomic<std::uint64_t>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, counter, 0));
  program.life = argv[3];
  program.random.seed(std::strtoull(argv[4], nullptr, 10));
  const std::uint64_t wanted = std::strtoull(argv[5], nullptr, 10);
  for (int i = 6; i < argc; i += 2) open(program, argv[i], std::strtoull(argv[i + 1], nullptr, 10));
  for (int failures = 0; wanted == 0 || program.seq < wanted;) {
    const int rc = transact(program);
    if (rc == MDB_PANIC) stop("commit", rc);
    failures = rc == 0 ? 0 : failures + 1;
    if (failures > 4) ::usleep(2000);
    if (failures > 2000) stop("too many failures in a row", rc);
  }
  return 0;
}
