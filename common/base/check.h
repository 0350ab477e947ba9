// SPDX-License-Identifier: Apache-2.0
// Checks of our own invariants, on in every build. Never for bytes from disk, network or the host
// program: those are errors. Not used in the capture library, which never aborts its host.
#pragma once

#include <cstdio>
#include <cstdlib>

#define HOTBACKUP_CHECK(condition)                                                           \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: invariant broken: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
