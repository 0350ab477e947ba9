// SPDX-License-Identifier: Apache-2.0
// What long work shows: bytes, items, rate, time left; a line that changes on a terminal, one now
// and then elsewhere. On standard error: standard output is for results and saves.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace hotbackup::resync {

class Progress {
 public:
  /// `total`: of items (or whatever `unit` says); 0: not known.
  Progress(std::string what, std::uint64_t total, std::string unit = "items");
  ~Progress();
  /// Cheap; call often.
  void at(std::uint64_t done, std::uint64_t bytes);
  std::chrono::duration<double> elapsed() const;

 private:
  const std::string what_;
  const std::uint64_t total_;
  const std::string unit_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point next_;
  bool shown_ = false;
};

}  // namespace hotbackup::resync
