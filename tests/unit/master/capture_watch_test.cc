// SPDX-License-Identifier: Apache-2.0
#include "master/capture_watch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "common/base/bytes.h"
#include "tests/unit/master/group_on_disk.h"

using namespace hotbackup;
using namespace hotbackup::master;

namespace {

/// What LMDB's data file begins with.
void write_data_file(const std::string& path) {
  std::string page(4096, '\0');
  store_le(page.data() + 16, std::uint32_t{0xBEEFC0DE});
  std::ofstream(path, std::ios::binary) << page;
}

/// A process that holds a file open, and maps another, until the end of the scope.
class Holder {
 public:
  Holder(const std::string& file, int flags, const std::string& mapped = {}) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const int fd = ::open(file.c_str(), flags);
      if (!mapped.empty())
        (void)::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, ::open(mapped.c_str(), O_RDONLY), 0);
      const char byte = fd >= 0 ? '+' : '-';
      (void)!::write(ready[1], &byte, 1);
      // The test's own mapping of the control file must not be inherited.
      if (mapped.empty()) ::execlp("sleep", "sleep", "600", nullptr);
      while (true) ::pause();
    }
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    CHECK(byte == '+');
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Holder() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

}  // namespace

TEST_CASE("what lies there and matches joins, what is no environment does not") {
  test::GroupOnDisk fixture;
  control::Group& group = fixture.group();
  write_data_file(fixture.data("pdns/zones"));
  write_data_file(fixture.data("pdns/zones-1"));
  write_data_file(fixture.data("pdns/other"));
  std::ofstream(fixture.data("pdns/zones-lock")) << "lock";
  std::ofstream(fixture.data("pdns/zones.txt")) << "a note";
  REQUIRE(::mkdir(fixture.data("users").c_str(), 0755) == 0);
  REQUIRE(join_existing(group));
  CHECK(group.environment_count() == 2);
  write_data_file(fixture.data("users/data.mdb"));
  REQUIRE(join_existing(group));
  CHECK(group.environment_count() == 3);
  CHECK(group.environment_at(fixture.data("pdns/zones-1")) != nullptr);
  REQUIRE(group.environment_at(fixture.data("users")) != nullptr);
  CHECK(group.environment_at(fixture.data("users"))->subdirectory == 1);
}

TEST_CASE("a program that writes without capture is named, one with capture or reading is not") {
  test::GroupOnDisk fixture;
  control::Group& group = fixture.group();
  write_data_file(fixture.data("users"));
  REQUIRE(join_existing(group));
  CHECK(uncaptured_writers(group).empty());
  const Holder reader(fixture.data("users"), O_RDONLY);
  const Holder captured(fixture.data("users"), O_RDWR, group.directory() + "/control");
  CHECK(uncaptured_writers(group).empty());
  {
    const Holder writer(fixture.data("users"), O_RDWR);
    auto writers = uncaptured_writers(group);
    for (int i = 0; i < 1000 && (writers.size() != 1 || writers[0].program != "sleep"); ++i) {
      ::usleep(5000);  // until the child is the program it becomes
      writers = uncaptured_writers(group);
    }
    REQUIRE(writers.size() == 1);
    CHECK(writers[0].pid == writer.pid());
    CHECK(writers[0].file == fixture.data("users"));
    CHECK(describe(writers) == "waiting for capture: pid " + std::to_string(writer.pid()) + " (" +
                                   writers[0].program + ")");
  }
  CHECK(uncaptured_writers(group).empty());
}
