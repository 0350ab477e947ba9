// SPDX-License-Identifier: Apache-2.0
// The words the file uses for our enumerations: what reading and printing have to agree on.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "common/config/configuration.h"
#include "common/config/quantity.h"

namespace hotbackup::config {

template <class E>
struct Word {
  std::string_view text;
  E value;
};

inline constexpr std::array kSeverities = std::to_array<Word<Severity>>(
    {{"notice", Severity::kNotice}, {"warning", Severity::kWarning}, {"error", Severity::kError}});
inline constexpr std::array kAtLimit = std::to_array<Word<AtLimit>>(
    {{"alarm", AtLimit::kAlarm}, {"wait", AtLimit::kWait}, {"refuse", AtLimit::kRefuse}});
inline constexpr std::array kWaitFor = std::to_array<Word<WaitFor>>(
    {{"journaled", WaitFor::kJournaled}, {"applied", WaitFor::kApplied}});
inline constexpr std::array kRejoin =
    std::to_array<Word<Rejoin>>({{"ask", Rejoin::kAsk},
                                 {"rewind", Rejoin::kRewind},
                                 {"rewind or seed", Rejoin::kRewindOrSeed}});
inline constexpr std::array kAtJournalLimit =
    std::to_array<Word<AtJournalLimit>>({{"forget slave", AtJournalLimit::kForgetSlave},
                                         {"refuse", AtJournalLimit::kRefuse},
                                         {"alarm", AtJournalLimit::kAlarm}});

inline constexpr std::array kVerify = std::to_array<Word<Verify>>(
    {{"read", Verify::kRead}, {"restore", Verify::kRestore}, {"app", Verify::kApp}});

/// A parser for the words of one array above.
template <class E, std::size_t N>
auto one_of(const std::array<Word<E>, N>& words) {
  return [&words](std::string_view text) -> Result<E> {
    std::string list;
    for (const Word<E>& word : words) {
      if (word.text == text) return word.value;
      list += (list.empty() ? "'" : ", '") + std::string(word.text) + "'";
    }
    return fail(ErrorCode::kConfig, in_quotes(text) + " is not one of " + list);
  };
}

template <class E, std::size_t N>
std::string word_of(const std::array<Word<E>, N>& words, E value) {
  for (const Word<E>& word : words) {
    if (word.value == value) return std::string(word.text);
  }
  return {};
}

}  // namespace hotbackup::config
