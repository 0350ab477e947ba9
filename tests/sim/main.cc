// SPDX-License-Identifier: Apache-2.0
// Runs histories. docs/testing.md says how to use it.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "tests/sim/history.h"

namespace {

using hotbackup::sim::Outcome;
using hotbackup::sim::run_history;

constexpr char kUsage[] =
    "usage: simulator [--seeds N] [--from S|fresh] [--twice] [--keep-going]\n"
    "       simulator --trace SEED\n"
    "Runs N histories from seed S on (1 from 1). --twice: each is run twice and must leave the\n"
    "same trace. --trace prints what happens in one history.\n";

struct Options {
  std::uint64_t seeds = 1;
  std::uint64_t from = 1;
  bool twice = false;
  bool keep_going = false;
  bool trace = false;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (std::strcmp(argv[i], "--seeds") == 0 && has_value) {
      options.seeds = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--from") == 0 && has_value) {
      const char* from = argv[++i];
      options.from = std::strcmp(from, "fresh") == 0
                         ? (std::uint64_t{std::random_device()()} << 20) + 1'000'000
                         : std::strtoull(from, nullptr, 10);
    } else if (std::strcmp(argv[i], "--trace") == 0 && has_value) {
      options.trace = true;
      options.from = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--twice") == 0) {
      options.twice = true;
    } else if (std::strcmp(argv[i], "--keep-going") == 0) {
      options.keep_going = true;
    } else {
      return false;
    }
  }
  return options.seeds > 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 16);
  const auto begun = std::chrono::steady_clock::now();
  std::printf("seeds %" PRIu64 " to %" PRIu64 "\n", options.from, options.from + options.seeds - 1);
  Outcome all;
  std::uint64_t failed = 0;
  std::uint64_t done = 0;
  for (std::uint64_t seed = options.from; done < options.seeds; ++seed, ++done) {
    Outcome one = run_history(seed, options.trace);
    if (options.twice && run_history(seed, false).trace != one.trace)
      one.broken = "the same seed leaves two traces";
    all.updates += one.updates;
    all.power_losses += one.power_losses;
    all.ended_processes += one.ended_processes;
    all.seeds += one.seeds;
    all.trace = all.trace * 31 + one.trace;
    if (one.broken.empty()) continue;
    ++failed;
    std::printf("seed %" PRIu64 ": %s\n  again: tests/sim/run --trace %" PRIu64 "\n", seed,
                one.broken.c_str(), seed);
    if (!options.keep_going) break;
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begun);
  std::printf("%" PRIu64 " updates, %" PRIu64 " power losses, %" PRIu64 " ended processes, %" PRIu64
              " seeds of copies, %.1f s, trace %016" PRIx64 "\n%" PRIu64 " histories, %" PRIu64
              " failed\n",
              all.updates, all.power_losses, all.ended_processes, all.seeds,
              static_cast<double>(took.count()) / 1000, all.trace,
              done + (failed && !options.keep_going ? 1 : 0), failed);
  return failed == 0 ? 0 : 1;
}
