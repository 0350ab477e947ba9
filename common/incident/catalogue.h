// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a group, in one place: docs/operating/incidents.md is this table.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace hotbackup::incident {

enum class Severity { kNotice, kWarning, kError };
std::string_view severity_name(Severity severity);

struct Entry {
  std::string_view code;  // stable: "HB-disk-full"
  Severity severity;
  std::string_view meaning;  // one sentence
  std::string_view action;   // what a person does, as an order; the command where there is one
};

/// All incidents, sorted by code.
std::span<const Entry> catalogue();
/// nullptr for a code that is not listed.
const Entry* find(std::string_view code);

/// What to do about it in this group, about this subject: the entry's action with the names put in;
/// empty for a code that is not listed.
std::string action_for(std::string_view code, std::string_view group, std::string_view subject);
/// That of the catalogue; error for a code that is not listed.
Severity severity_of(std::string_view code);

}  // namespace hotbackup::incident
