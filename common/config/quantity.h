// SPDX-License-Identifier: Apache-2.0
// The quantities a configuration is written in ("10 s", "50 GB", "lyon:2000") and their way back to
// text. Errors are kConfig and say what is expected; the caller adds where and which key.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"

namespace hotbackup::config {

/// What a loss limit counts. `updates` 0 means that every commit waits.
struct LossLimit {
  enum class Kind { kUpdates, kBytes, kTime };
  Kind kind = Kind::kUpdates;
  std::uint64_t updates = 0;
  std::uint64_t bytes = 0;
  std::chrono::milliseconds time{};
  bool operator==(const LossLimit&) const = default;
};

/// When a full save is due, in the node's local time.
struct Schedule {
  enum class Kind { kOff, kDaily, kWeekly, kEvery };
  Kind kind = Kind::kOff;
  unsigned weekday = 0;               // kWeekly: 0 is Sunday
  unsigned minute = 0;                // of the day
  std::chrono::milliseconds every{};  // kEvery
  bool operator==(const Schedule&) const = default;
};

/// A TCP address. `host` is a name, an IPv4 address, or an IPv6 address without its brackets.
struct Address {
  std::string host;
  std::uint16_t port = 0;
  bool operator==(const Address&) const = default;
};

/// A number and ms, s, min, h, d (or day, days), with or without a space: "500 ms", "1.5 h".
/// Never 0, at most 100 years, rounded to milliseconds.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);
/// A number and B, kB, MB, GB, TB (decimal) or KiB, MiB, GiB, TiB. Never 0.
Result<std::uint64_t> parse_size(std::string_view text);
/// The same where whole pages count: kB, MB, GB, TB stand for KiB, MiB, GiB, TiB.
Result<std::uint64_t> parse_binary_size(std::string_view text);
/// A size and "/s"; bytes per second.
Result<std::uint64_t> parse_rate(std::string_view text);
/// "0", "200 updates", a size or a duration. ("off" is the caller's.)
Result<LossLimit> parse_loss_limit(std::string_view text);
/// "daily 02:00", "weekly SUN 02:00", a duration, or "off".
Result<Schedule> parse_schedule(std::string_view text);
/// "host", "host:port", "[v6]" or "[v6]:port".
Result<Address> parse_address(std::string_view text, std::uint16_t default_port);
/// An octal file mode of permission bits only: "0660".
Result<std::uint32_t> parse_mode(std::string_view text);
/// Letters, digits and '-', not at the beginning; at most 64 characters.
Result<std::string> parse_name(std::string_view text);

/// Text that parses to the same value.
std::string to_text(std::chrono::milliseconds duration);
std::string to_text(const Address& address);
std::string to_text(const LossLimit& limit);
std::string to_text(const Schedule& schedule);
std::string size_to_text(std::uint64_t bytes);
std::string mode_to_text(std::uint32_t mode);

/// 127.0.0.0/8, ::1 or "localhost": bytes to it never leave this machine.
bool is_loopback(const Address& address);

/// "'text'" for a message: control characters replaced, long text cut.
std::string in_quotes(std::string_view text);

/// The word of `known` that was probably meant by `word`, if one is near.
std::optional<std::string> nearest_word(std::string_view word,
                                        const std::vector<std::string>& known);

}  // namespace hotbackup::config
