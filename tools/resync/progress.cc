// SPDX-License-Identifier: Apache-2.0
#include "tools/resync/progress.h"

#include <unistd.h>

#include <cstdio>

#include "common/base/clock.h"

namespace hotbackup::resync {
namespace {

using std::chrono::steady_clock;
constexpr std::chrono::milliseconds kTerminal{200};
constexpr std::chrono::seconds kElsewhere{10};

}  // namespace

Progress::Progress(std::string what, std::uint64_t total, std::string unit)
    : what_(std::move(what)),
      total_(total),
      unit_(std::move(unit)),
      terminal_(::isatty(2) != 0),
      start_(steady_clock::now()),
      next_(start_ + (terminal_ ? std::chrono::nanoseconds(kTerminal)
                                : std::chrono::nanoseconds(kElsewhere))) {}

Progress::~Progress() {
  if (terminal_ && shown_) std::fputs("\r\033[K", stderr);
}

std::chrono::duration<double> Progress::elapsed() const {
  return steady_clock::now() - start_;
}

void Progress::at(std::uint64_t done, std::uint64_t bytes) {
  const auto now = steady_clock::now();
  if (now < next_) return;
  next_ = now +
          (terminal_ ? std::chrono::nanoseconds(kTerminal) : std::chrono::nanoseconds(kElsewhere));
  const double seconds = elapsed().count();
  std::string text = what_ + "  " + human_count(done);
  if (total_ != 0) text += " of " + human_count(total_);
  text += " " + unit_ + ", " + human_bytes(bytes) + ", " +
          human_bytes(static_cast<std::uint64_t>(static_cast<double>(bytes) / seconds)) + "/s";
  if (done != 0 && total_ > done) {
    const double left = seconds * static_cast<double>(total_ - done) / static_cast<double>(done);
    text += ", " + human_duration(std::chrono::nanoseconds(static_cast<std::int64_t>(left * 1e9))) +
            " left";
  }
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", text.c_str());
  std::fflush(stderr);
  shown_ = true;
}

}  // namespace hotbackup::resync
