// SPDX-License-Identifier: Apache-2.0
// Whether an environment shows what its last journalled update did.
#pragma once

#include <string_view>

#include "common/lmdb/environment.h"

namespace hotbackup::recovery {

/// Compares the items that the operations of `body` touched last with what is there. False:
/// somebody else's write stands at this txnid. Operations in other bodies of the same update are
/// not looked at; `body` is its last.
Result<bool> shows(lmdb::Transaction& txn, std::string_view body);

}  // namespace hotbackup::recovery
