// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "common/os/file.h"
#include "common/os/process.h"
#include "common/os/shared_mutex.h"
#include "common/os/size_lock.h"
#include "common/os/unique_fd.h"
#include "tests/support/temporary_directory.h"

using namespace hotbackup;
using namespace hotbackup::os;

namespace {

template <class T>
T* shared_memory() {
  void* memory =
      ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return new (memory) T;
}

}  // namespace

TEST_CASE("a file is replaced whole, with the mode that was asked for whatever the umask") {
  test::TemporaryDirectory directory;
  const mode_t umask = ::umask(0077);
  REQUIRE(replace_file(directory / "a", "one", {.mode = 0664}));
  REQUIRE(replace_file(directory / "a", "two", {.mode = 0664}));
  ::umask(umask);
  CHECK(*read_file(directory / "a") == "two");
  struct stat status {};
  REQUIRE(::stat((directory / "a").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0664);
  CHECK((*open_directory(directory.path(), {}))->list()->size() == 1);
}

TEST_CASE("what is not there is not found, and the text names it") {
  const auto missing = read_file("/nonexistent/file");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::kNotFound);
  CHECK(missing.error().text().find("/nonexistent/file") != std::string::npos);
}

TEST_CASE("a symbolic link is not followed when a file is opened or made") {
  test::TemporaryDirectory directory;
  REQUIRE(replace_file(directory / "real", "x", {}));
  REQUIRE(::symlink("real", (directory / "link").c_str()) == 0);
  auto opened = *open_directory(directory.path(), {});
  CHECK_FALSE(opened->open("link"));
  CHECK_FALSE(opened->create("link"));
}

TEST_CASE("a file that is larger than allowed is an error") {
  test::TemporaryDirectory directory;
  REQUIRE(replace_file(directory / "big", std::string(100'000, 'x'), {}));
  CHECK(read_file(directory / "big", 50'000).error().code() == ErrorCode::kCorrupt);
}

TEST_CASE("the lock of a killed process is taken over and says so") {
  auto* mutex = shared_memory<SharedMutex>();
  mutex->initialize();
  const pid_t child = ::fork();
  if (child == 0) {
    auto lock = SharedLock::acquire(*mutex, std::chrono::seconds(1));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  {
    auto lock = SharedLock::acquire(*mutex, std::chrono::seconds(5));
    REQUIRE(lock);
    CHECK(lock->owner_died());
  }
  auto again = SharedLock::acquire(*mutex, std::chrono::seconds(5));
  REQUIRE(again);
  CHECK_FALSE(again->owner_died());
}

TEST_CASE("a lock that is held is waited for, and no longer than allowed") {
  SharedMutex mutex;
  mutex.initialize();
  auto held = SharedLock::acquire(mutex, std::chrono::seconds(1));
  REQUIRE(held);
  std::thread([&] {
    const auto late = SharedLock::acquire(mutex, std::chrono::milliseconds(20));
    REQUIRE_FALSE(late);
    CHECK(late.error().code() == ErrorCode::kTimeout);
  }).join();
}

TEST_CASE("a futex wakes who sleeps, and never lets sleep who came with an old ticket") {
  std::atomic<std::uint32_t> word{0};
  std::thread sleeper([&] {
    while (word.load() == 0) futex_wait(word, 0, std::chrono::seconds(10));
  });
  futex_notify(word);
  sleeper.join();
  futex_wait(word, 0, std::chrono::seconds(10));  // the word is 1: returns at once
  CHECK(word.load() == 1);
}

TEST_CASE("this process exists and has a name; a pid beyond all does not") {
  CHECK(process_exists(::getpid()));
  CHECK(process_name(::getpid()) == "os_test");
  CHECK_FALSE(process_exists(0x3fffffff));
  CHECK(own_name() == "os_test");
  REQUIRE(boot_id());
  CHECK((*boot_id())[8] == '-');
}

TEST_CASE("the size lock keeps another opening of the file out until it goes") {
  test::TemporaryDirectory directory;
  REQUIRE(replace_file(directory / "data", "x", {}));
  const UniqueFd one(::open((directory / "data").c_str(), O_RDWR | O_CLOEXEC));
  const UniqueFd two(::open((directory / "data").c_str(), O_RDWR | O_CLOEXEC));
  std::atomic<int> order{0};
  std::thread waiting;
  {
    const SizeLock held(one.get());
    waiting = std::thread([&] {
      const SizeLock lock(two.get());
      CHECK(order.exchange(2) == 1);
    });
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = off_t{1} << 62;
    lock.l_len = 1;
    const UniqueFd three(::open((directory / "data").c_str(), O_RDWR | O_CLOEXEC));
    CHECK(::fcntl(three.get(), F_OFD_SETLK, &lock) == -1);
    order.store(1);
  }
  waiting.join();
  CHECK(order.load() == 2);
}
