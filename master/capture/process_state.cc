// SPDX-License-Identifier: Apache-2.0
#include "master/capture/process_state.h"

#include <pthread.h>
#include <sys/stat.h>

#include <mutex>
#include <new>
#include <vector>

namespace hotbackup::capture {
namespace {

// An open-addressed table. Readers take no lock: a slot's environment is written before its key.
constexpr std::size_t kSlots = 4096;
constexpr std::size_t kEnvironmentsMax = 2048;

struct Slot {
  std::atomic<MDB_env*> key{nullptr};
  std::atomic<Environment*> environment{nullptr};
};

struct OpenGroup {
  std::string directory;
  dev_t device;
  ino_t inode;
  unsigned generation;
  control::Group* group;
};

Slot g_slots[kSlots];
std::mutex g_mutex;  // guards changes of g_slots, and g_groups
std::vector<OpenGroup>* g_groups = nullptr;
std::atomic<unsigned> g_fork_generation{0};
bool g_watching_forks = false;

std::size_t first_slot(const MDB_env* env) {
  return (reinterpret_cast<std::uintptr_t>(env) >> 4) * 0x9E3779B97F4A7C15ull >> 52;
}

// In the child there is one thread, and the lock may have been held by another.
void after_fork_in_child() {
  g_fork_generation.fetch_add(1, std::memory_order_relaxed);
  new (&g_mutex) std::mutex;
}

void watch_forks() {
  if (g_watching_forks) return;
  ::pthread_atfork(nullptr, nullptr, after_fork_in_child);
  g_watching_forks = true;
}

}  // namespace

std::atomic<unsigned> g_captured_count{0};

unsigned fork_generation() {
  return g_fork_generation.load(std::memory_order_relaxed);
}

Environment* find_environment(MDB_env* env) {
  for (std::size_t i = first_slot(env), n = 0; n < kSlots; i = (i + 1) % kSlots, ++n) {
    MDB_env* const key = g_slots[i].key.load(std::memory_order_acquire);
    if (key == env) return g_slots[i].environment.load(std::memory_order_acquire);
    if (key == nullptr) return nullptr;
  }
  return nullptr;
}

// A key stays in its slot when the environment is closed, so that longer chains stay whole; LMDB
// handles are heap addresses and come back, so the slots are used again.
bool register_environment(MDB_env* env, Environment* environment) {
  const std::lock_guard guard(g_mutex);
  watch_forks();
  if (g_captured_count.load() >= kEnvironmentsMax) return false;
  Slot* free_slot = nullptr;
  for (std::size_t i = first_slot(env), n = 0; n < kSlots; i = (i + 1) % kSlots, ++n) {
    Slot& slot = g_slots[i];
    MDB_env* const key = slot.key.load();
    if (key == env) {
      free_slot = &slot;
      break;
    }
    if (key != nullptr && slot.environment.load() != nullptr) continue;
    if (free_slot == nullptr) free_slot = &slot;
    if (key == nullptr) break;
  }
  if (free_slot == nullptr) return false;
  free_slot->environment.store(environment, std::memory_order_release);
  free_slot->key.store(env, std::memory_order_release);
  g_captured_count.fetch_add(1);
  return true;
}

void forget_environment(MDB_env* env) {
  const std::lock_guard guard(g_mutex);
  for (Slot& slot : g_slots) {
    if (slot.key.load() != env || slot.environment.load() == nullptr) continue;
    slot.environment.store(nullptr);
    g_captured_count.fetch_sub(1);
    return;
  }
}

// A directory that was removed and made again is another group, although running environments go
// on with the old one.
Result<control::Group*> open_group(const std::string& directory,
                                   const control::TrustedOwners& trusted) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) return fail_errno("looking at " + directory);
  if (!trusted.include(status.st_uid))
    return fail(ErrorCode::kRefused, directory + " belongs to a stranger");
  const std::lock_guard guard(g_mutex);
  watch_forks();
  if (g_groups == nullptr) g_groups = new std::vector<OpenGroup>;
  for (const OpenGroup& open : *g_groups) {
    if (open.directory == directory && open.device == status.st_dev &&
        open.inode == status.st_ino && open.generation == fork_generation())
      return open.group;
  }
  HOTBACKUP_ASSIGN(auto group, control::Group::open(directory, &trusted));
  g_groups->push_back({directory, status.st_dev, status.st_ino, fork_generation(), group.get()});
  return group.release();
}

}  // namespace hotbackup::capture
