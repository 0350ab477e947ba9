// SPDX-License-Identifier: Apache-2.0
// One history from one seed: a master, slaves, writers; faults on, faults off, and everything must
// come level.
#pragma once

#include <cstdint>
#include <string>

namespace hotbackup::sim {

struct Outcome {
  std::string broken;       // the rule that was broken; empty: none
  std::uint64_t trace = 0;  // of everything that happened, in order
  std::uint64_t updates = 0;
  std::uint64_t power_losses = 0;
  std::uint64_t ended_processes = 0;
  std::uint64_t seeds = 0;
};

Outcome run_history(std::uint64_t seed, bool print);

}  // namespace hotbackup::sim
