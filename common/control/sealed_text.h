// SPDX-License-Identifier: Apache-2.0
// Small text files that a program of ours wrote whole: a title line, lines, and a last line with a
// hash of all before it. docs/formats/applied.md.
#pragma once

#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/os/file.h"

namespace hotbackup::control {

/// The lines between title and check; kNotFound when there is no file, kCorrupt when anything is
/// not as write_sealed() leaves it.
Result<std::string> read_sealed(const std::string& path, std::string_view title);
/// Durable when it returns. `lines` end with a newline each.
Result<> write_sealed(const std::string& path, std::string_view title, std::string_view lines,
                      const os::Permissions& permissions);

}  // namespace hotbackup::control
