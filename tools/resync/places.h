// SPDX-License-Identifier: Apache-2.0
// Where a group's saves lie, and which were verified.
#pragma once

#include <optional>

#include "common/control/group.h"
#include "tools/resync/container.h"

namespace hotbackup::resync {

/// Directories that `save` and `export` have written to, as far as they are there:
/// <group>/save-places, a line each. Only a convenience: the files say everything themselves.
Result<std::vector<std::string>> known_places(control::Group& group);
Result<> note_place(control::Group& group, const std::string& directory);

/// FILE.verified: when and how a file was last proved good: {time, how, bytes}. Nothing where it
/// was not, or for another file of that name.
std::optional<Json> read_verified(const std::string& path);
Result<> write_verified(const std::string& path, std::uint64_t bytes, const std::string& how);

/// FILE.invalid: when, how and why a file was found to be of no use: {time, how, bytes, text}. It
/// is passed over by restores until the same verification finds it good, or the mark is removed.
std::optional<Json> read_invalid(const std::string& path);
Result<> write_invalid(const std::string& path, const std::string& how, const std::string& why);

/// The file, then what lies beside it.
Result<> remove_saved(const std::string& path);

inline constexpr char kVerifiedSuffix[] = ".verified";
inline constexpr char kInvalidSuffix[] = ".invalid";

}  // namespace hotbackup::resync
