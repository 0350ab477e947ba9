// SPDX-License-Identifier: Apache-2.0
// Numbers as they are typed, and how a command that failed ends.
#pragma once

#include <cstdint>
#include <string_view>

#include "tools/hotbackup/command.h"

namespace hotbackup::cli {

/// Digits, and no more than there can be: kConfig for anything else. CLI11's own conversion takes
/// "-5" as a number near 2^64, so every number that is typed goes through here.
Result<std::uint64_t> parse_number(std::string_view text);
/// The same for an option, ->transform(update_number()).
CLI::Validator update_number();

/// One line on stderr, with who may do this where the system did not let this user; exit_code().
int report_error(const Session& session, const char* program, const Error& error);

}  // namespace hotbackup::cli
