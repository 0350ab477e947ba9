// SPDX-License-Identifier: Apache-2.0
#include "tools/hotbackup/capture_library.h"

#include <unistd.h>

#include <array>
#include <filesystem>

namespace hotbackup::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kLibrary[] = "libhotbackup.so";

}  // namespace

Result<std::string> capture_library() {
  std::error_code ignored;
  const fs::path here = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  const std::array<fs::path, 5> places = {
      here / "../lib" / kLibrary, here / ".." / HOTBACKUP_LIBDIR / kLibrary, here / kLibrary,
      here / "../../master/capture" / kLibrary, fs::path(HOTBACKUP_FULL_LIBDIR) / kLibrary};
  for (const fs::path& place : places) {
    const fs::path found = fs::canonical(place, ignored);
    if (ignored) continue;
    // The dynamic linker only warns about a library it cannot load, and the program would run
    // uncaptured: everything it could stumble over is refused here.
    if (::access(found.c_str(), R_OK) != 0)
      return fail_errno("cannot read the capture library " + found.string());
    if (found.native().find_first_of(" :") != std::string::npos)
      return fail(ErrorCode::kRefused, "the capture library lies at '" + found.string() +
                                           "': LD_PRELOAD allows no space or colon in a path");
    return found.string();
  }
  return fail(ErrorCode::kNotFound, std::string("the capture library ") + kLibrary +
                                        " is not where this program looks for it: install it "
                                        "beside this program in ../lib");
}

}  // namespace hotbackup::cli
