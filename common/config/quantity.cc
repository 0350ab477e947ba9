// SPDX-License-Identifier: Apache-2.0
#include "common/config/quantity.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace hotbackup::config {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::uint64_t kSecond = 1000;
constexpr std::uint64_t kHour = 3600 * kSecond;
constexpr std::uint64_t kDay = 24 * kHour;
constexpr std::uint64_t kDurationMax = 36525 * kDay;
constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 60;

// The first name of a factor is the one that is printed.
constexpr std::array kDurationUnits = std::to_array<Unit>({{"d", kDay},
                                                           {"day", kDay},
                                                           {"days", kDay},
                                                           {"h", kHour},
                                                           {"min", 60 * kSecond},
                                                           {"s", kSecond},
                                                           {"ms", 1}});
constexpr std::array kSizeUnits = std::to_array<Unit>({{"TB", 1'000'000'000'000},
                                                       {"TiB", std::uint64_t{1} << 40},
                                                       {"GB", 1'000'000'000},
                                                       {"GiB", 1 << 30},
                                                       {"MB", 1'000'000},
                                                       {"MiB", 1 << 20},
                                                       {"kB", 1000},
                                                       {"KB", 1000},
                                                       {"KiB", 1 << 10},
                                                       {"B", 1}});
constexpr std::array kBinaryUnits = std::to_array<Unit>({{"TB", std::uint64_t{1} << 40},
                                                         {"TiB", std::uint64_t{1} << 40},
                                                         {"GB", 1 << 30},
                                                         {"GiB", 1 << 30},
                                                         {"MB", 1 << 20},
                                                         {"MiB", 1 << 20},
                                                         {"kB", 1 << 10},
                                                         {"KB", 1 << 10},
                                                         {"KiB", 1 << 10},
                                                         {"B", 1}});

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

tl::unexpected<Error> expected(std::string_view text, std::string_view what) {
  return fail(ErrorCode::kConfig, in_quotes(text) + " is not " + std::string(what));
}

/// A number, spaces, and one of `units`. Rounded; 0 and more than `limit` are refused.
template <std::size_t N>
Result<std::uint64_t> parse_quantity(std::string_view text, const std::array<Unit, N>& units,
                                     std::uint64_t limit, std::string_view what) {
  // The first test keeps "inf" and "nan" from from_chars.
  if (text.empty() || !is_digit(text[0])) return expected(text, what);
  long double number = 0;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error == std::errc::result_out_of_range) return expected(text, "in range: too large");
  if (error != std::errc{}) return expected(text, what);
  std::string_view name(rest, static_cast<std::size_t>(end - rest));
  while (name.starts_with(' ')) name.remove_prefix(1);
  if (name.empty()) return expected(text, std::string(what) + ": its unit is missing");
  const auto unit =
      std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == name; });
  if (unit == units.end()) return expected(text, what);
  const long double value = std::round(number * static_cast<long double>(unit->factor));
  if (value < 1) return expected(text, "allowed: it is 0 (\"off\" turns a setting off)");
  if (value > static_cast<long double>(limit)) return expected(text, "in range: too large");
  return static_cast<std::uint64_t>(value);
}

bool is_host_name(std::string_view host) {
  return !host.empty() && host.size() <= 253 && host[0] != '-' && host[0] != '.' &&
         std::all_of(host.begin(), host.end(),
                     [](char c) { return is_name_character(c) || c == '.' || c == '_'; });
}

bool is_ipv6(const std::string& host) {
  in6_addr address;
  return ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row[b.size()];
}

}  // namespace

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  auto value = parse_quantity(text, kDurationUnits, kDurationMax, "a duration such as \"10 s\"");
  if (!value) return fail(std::move(value).error());
  return std::chrono::milliseconds(*value);
}

Result<std::uint64_t> parse_size(std::string_view text) {
  return parse_quantity(text, kSizeUnits, kSizeMax, "a size such as \"50 GB\"");
}

Result<std::uint64_t> parse_binary_size(std::string_view text) {
  return parse_quantity(text, kBinaryUnits, kSizeMax, "a size such as \"32 MB\"");
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  constexpr std::string_view kWhat = "a rate such as \"50 MB/s\"";
  if (!text.ends_with("/s")) return expected(text, kWhat);
  return parse_quantity(text.substr(0, text.size() - 2), kSizeUnits, kSizeMax, kWhat);
}

Result<LossLimit> parse_loss_limit(std::string_view text) {
  using Kind = LossLimit::Kind;
  if (text == "0") return LossLimit{};
  constexpr std::array kUpdateUnits = std::to_array<Unit>({{"updates", 1}, {"update", 1}});
  constexpr std::string_view kWhat =
      "a loss limit: \"off\", \"0\", \"200 updates\", \"1 MB\" or \"500 ms\"";
  if (auto updates = parse_quantity(text, kUpdateUnits, kSizeMax, kWhat)) {
    return LossLimit{.kind = Kind::kUpdates, .updates = *updates};
  }
  if (auto bytes = parse_size(text)) return LossLimit{.kind = Kind::kBytes, .bytes = *bytes};
  if (auto time = parse_duration(text)) return LossLimit{.kind = Kind::kTime, .time = *time};
  return expected(text, kWhat);
}

Result<Address> parse_address(std::string_view text, std::uint16_t default_port) {
  constexpr std::string_view kWhat = "an address such as \"host:2000\" or \"[::1]:2000\"";
  std::string_view host = text;
  std::optional<std::string_view> port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == text.npos) return expected(text, kWhat);
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest[0] != ':') return expected(text, kWhat);
    if (!rest.empty()) port = rest.substr(1);
    if (!is_ipv6(std::string(host))) return expected(text, kWhat);
  } else {
    const std::size_t colon = text.find(':');
    host = text.substr(0, colon);
    if (colon != text.npos) port = text.substr(colon + 1);
    if (port && port->find(':') != port->npos) {
      return expected(text, std::string(kWhat) + ": an IPv6 address stands in brackets");
    }
    if (!is_host_name(host)) return expected(text, kWhat);
  }
  Address address{std::string(host), default_port};
  if (!port) return address;
  auto [rest, error] = std::from_chars(port->data(), port->data() + port->size(), address.port);
  if (error != std::errc{} || rest != port->data() + port->size() || address.port == 0) {
    return expected(text, "an address: its port is not a number from 1 to 65535");
  }
  return address;
}

Result<std::uint32_t> parse_mode(std::string_view text) {
  std::uint32_t mode = 0;
  auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (text.empty() || error != std::errc{} || rest != text.data() + text.size() || mode > 0777) {
    return expected(text, "an octal file mode such as \"0660\"");
  }
  if ((mode & 0600) != 0600) {
    return expected(text, "a usable file mode: the owner has to read and write");
  }
  return mode;
}

Result<std::string> parse_name(std::string_view text) {
  if (text.empty() || text.size() > 64 || text[0] == '-' ||
      !std::all_of(text.begin(), text.end(), is_name_character)) {
    return expected(text, "a name: letters, digits and '-', at most 64");
  }
  return std::string(text);
}

std::string to_text(std::chrono::milliseconds duration) {
  const auto count = static_cast<std::uint64_t>(duration.count());
  for (const Unit& unit : kDurationUnits) {
    if (count % unit.factor != 0 || count < unit.factor) continue;
    if (unit.factor == kDay && count == kDay) continue;  // people say "24 h"
    return std::to_string(count / unit.factor) + " " + std::string(unit.name);
  }
  return "0 ms";
}

std::string to_text(const Address& address) {
  const bool is_v6 = address.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

std::string to_text(const LossLimit& limit) {
  switch (limit.kind) {
    case LossLimit::Kind::kBytes:
      return size_to_text(limit.bytes);
    case LossLimit::Kind::kTime:
      return to_text(limit.time);
    case LossLimit::Kind::kUpdates:
      break;
  }
  return limit.updates == 0 ? "0" : std::to_string(limit.updates) + " updates";
}

std::string size_to_text(std::uint64_t bytes) {
  const Unit* best = &kSizeUnits.back();
  for (const Unit& unit : kSizeUnits) {
    if (bytes % unit.factor == 0 && bytes >= unit.factor && unit.factor > best->factor) {
      best = &unit;
    }
  }
  return std::to_string(bytes / best->factor) + " " + std::string(best->name);
}

std::string mode_to_text(std::uint32_t mode) {
  std::string text = "0";
  for (int shift = 6; shift >= 0; shift -= 3) {
    text += static_cast<char>('0' + ((mode >> shift) & 7));
  }
  return text;
}

bool is_loopback(const Address& address) {
  if (address.host == "localhost") return true;
  in_addr v4;
  if (::inet_pton(AF_INET, address.host.c_str(), &v4) == 1) {
    return (ntohl(v4.s_addr) >> 24) == 127;
  }
  in6_addr v6;
  return ::inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string in_quotes(std::string_view text) {
  std::size_t length = std::min<std::size_t>(text.size(), 80);
  // Never cut inside a character of several bytes.
  while (length < text.size() && (text[length] & 0xc0) == 0x80) --length;
  std::string out = "'";
  for (char c : text.substr(0, length)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return out + (length < text.size() ? "…'" : "'");
}

std::optional<std::string> nearest_word(std::string_view word,
                                        const std::vector<std::string>& known) {
  const std::string* best = nullptr;
  std::size_t best_distance = std::min<std::size_t>(3, word.size());
  if (word.size() > 64) return std::nullopt;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = &candidate;
      best_distance = distance;
    }
  }
  return best == nullptr ? std::nullopt : std::optional(*best);
}

}  // namespace hotbackup::config
