// SPDX-License-Identifier: Apache-2.0
#include "common/service/doorkeeper.h"

#include <doctest/doctest.h>

using namespace hotbackup;
using namespace hotbackup::service;
using namespace std::chrono_literals;

namespace {

constexpr DoorLimits::Time kStart{};

config::Configuration configured() {
  const std::string key = "SHA256:" + std::string(42, 'a') + "A";
  return config::parse(
             "[node]\nname = 'paris'\nlisten = '127.0.0.1:2000'\n"
             "[[peer]]\nname = 'lyon'\nfingerprint = '" +
                 key + "'\n[[peer]]\nname = 'near'\naddress = ['127.0.0.1:2001']\n",
             "t")
      .value();
}

}  // namespace

TEST_CASE("a host that calls and never shows a key is not answered for long, others are") {
  DoorLimits limits;
  int taken = 0;
  for (int i = 0; i < 1000; ++i) {
    if (!limits.called("192.0.2.1", kStart).empty()) continue;
    ++taken;
    limits.ended("192.0.2.1");
  }
  CHECK(taken == static_cast<int>(DoorLimits::kCallsBurst));
  CHECK(limits.called("192.0.2.1", kStart) == "calls too often");
  CHECK(limits.called("192.0.2.2", kStart).empty());
  CHECK(limits.called("192.0.2.1", kStart + 10s).empty());
}

TEST_CASE("calls of a host that shows its key cost it nothing") {
  DoorLimits limits;
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(limits.called("192.0.2.1", kStart).empty());
    REQUIRE(limits.known("192.0.2.1"));
    limits.link_ended();
  }
}

TEST_CASE("connections that have not shown a key are few, in all and from one host") {
  DoorLimits limits;
  std::size_t from_one = 0;
  while (limits.called("192.0.2.1", kStart).empty()) ++from_one;
  CHECK(from_one == DoorLimits::kStrangersPerHost);
  std::size_t all = from_one;
  for (int host = 0; host < 500; ++host)
    if (limits.called("host " + std::to_string(host), kStart).empty()) ++all;
  CHECK(all == DoorLimits::kStrangersMax);
  limits.ended("192.0.2.1");
  CHECK(limits.called("192.0.2.9", kStart).empty());
}

TEST_CASE("links of known peers have a limit, and who comes after it is still a stranger") {
  DoorLimits limits;
  for (std::size_t i = 0; i < DoorLimits::kLinksMax; ++i) {
    REQUIRE(limits.called("192.0.2.1", kStart).empty());
    REQUIRE(limits.known("192.0.2.1"));
  }
  REQUIRE(limits.called("192.0.2.1", kStart).empty());
  CHECK_FALSE(limits.known("192.0.2.1"));
  limits.ended("192.0.2.1");
  limits.link_ended();
  REQUIRE(limits.called("192.0.2.1", kStart).empty());
  CHECK(limits.known("192.0.2.1"));
}

TEST_CASE("hosts are remembered up to a limit, and quiet ones make room") {
  DoorLimits limits;
  for (std::size_t i = 0; i < 3 * DoorLimits::kHostsMax; ++i) {
    const std::string host = std::to_string(i);
    if (limits.called(host, kStart).empty()) limits.ended(host);
  }
  CHECK(limits.called("late", kStart) == "too many hosts call at once");
  CHECK(limits.called("late", kStart + 1s).empty());
}

TEST_CASE("a refusal is logged once in ten minutes with its count, and the log has an end") {
  RefusalLog log;
  CHECK(log.note("192.0.2.1", "no key", kStart) == "192.0.2.1: no key");
  for (int i = 0; i < 5; ++i) CHECK_FALSE(log.note("192.0.2.1", "no key", kStart + 1min));
  CHECK(log.note("192.0.2.1", "other", kStart + 1min));
  CHECK(log.note("192.0.2.2", "no key", kStart + 1min));
  CHECK_FALSE(log.note("192.0.2.1", "no key", kStart + 2min));
  CHECK(log.note("192.0.2.1", "no key", kStart + 11min) ==
        "192.0.2.1: no key (and 6 times before)");
}

TEST_CASE("whatever is refused, so many lines a minute and no more, and the rest is counted") {
  RefusalLog log;
  std::size_t lines = 0;
  for (int i = 0; i < 5000; ++i)
    if (log.note("192.0.2.1", "key " + std::to_string(i), kStart + 1s)) ++lines;
  CHECK(lines == RefusalLog::kLinesPerMinute);
  CHECK(log.note("192.0.2.2", "no key", kStart + 62s) ==
        "192.0.2.2: no key; 4940 other refusals are not shown");
  CHECK(log.note("192.0.2.3", "no key", kStart + 62s) == "192.0.2.3: no key");
}

TEST_CASE("a caller is who its key says; without a key only a peer that needs none") {
  const config::Configuration configuration = configured();
  CHECK(not_the_caller(configuration, "lyon", "lyon").empty());
  CHECK(not_the_caller(configuration, "near", "").empty());
  CHECK(not_the_caller(configuration, "lyon", "") == "the caller says it is lyon and shows no key");
  CHECK_FALSE(not_the_caller(configuration, "near", "lyon").empty());
  CHECK_FALSE(not_the_caller(configuration, "nobody", "").empty());
}
