// SPDX-License-Identifier: Apache-2.0
// A program without liblmdb that loads a module which brings it, with local symbols:
// capture_plugin_host MODULE PATH
#include <dlfcn.h>

int main(int argc, char** argv) {
  if (argc != 3) return 9;
  void* const module = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) return 30;
  const auto run = reinterpret_cast<int (*)(const char*)>(::dlsym(module, "write_one"));
  return run != nullptr ? run(argv[2]) : 31;
}
