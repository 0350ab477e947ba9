// SPDX-License-Identifier: Apache-2.0
// The LMDB environments of this machine: what programs have mapped, and what lies where data lie.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace hotbackup::cli {

/// A program that has an environment open.
struct Holder {
  pid_t pid = 0;
  std::string program;  // "pdns_server"
  std::string user;
  std::string unit;  // "pdns.service", or empty
  bool links_library =
      false;  // false: LMDB is linked into it, and capture by library cannot see it
};

struct FoundEnvironment {
  std::string path;  // canonical: the directory, or the file of MDB_NOSUBDIR
  bool subdirectory = false;
  std::string user;  // owner of the data file
  mode_t mode = 0;
  std::uint64_t bytes = 0;
  std::vector<Holder> holders;

  std::string directory() const { return subdirectory ? path : path.substr(0, path.rfind('/')); }
};

/// Sorted by path. Looks at every process that this user may look at, and through these
/// directories, five levels deep; what is under `without` is left out, with `only_there` also what
/// programs have elsewhere. Reads the first bytes of candidates only.
std::vector<FoundEnvironment> find_environments(const std::vector<std::string>& directories,
                                                const std::string& without, bool only_there);

}  // namespace hotbackup::cli
