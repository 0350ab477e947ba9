// SPDX-License-Identifier: Apache-2.0
// Where libhotbackup.so is: what `run` and `capture` put into LD_PRELOAD.
#pragma once

#include <string>

#include "common/base/error.h"

namespace hotbackup::cli {

/// Beside an installed program, beside one in the build tree, or where `cmake --install` puts it.
/// Only a path that the dynamic linker takes: it merely warns about a library that it cannot load.
Result<std::string> capture_library();

}  // namespace hotbackup::cli
