// SPDX-License-Identifier: Apache-2.0
// The last transaction of an environment, read from its data file as it lies there: no lock file,
// no mapping, nothing that would disturb a process (this one included) that has it open. Layout:
// MDB_page and MDB_meta of LMDB 0.9's mdb.c, data version 1, 64-bit.
#pragma once

#include <sys/stat.h>

#include <string>

#include "common/base/error.h"
#include "common/base/ids.h"

namespace hotbackup::lmdb {

struct MetaPeek {
  TxnId last_txnid;
  std::uint64_t entries = 0;  // of the main database: its items, and one for each named database
  dev_t device = 0;
  ino_t inode = 0;
};

/// kNotFound when there is no file or an empty one; kCorrupt when it is not a data file; kVersion
/// for another data version.
Result<MetaPeek> peek_meta(const std::string& data_file);

}  // namespace hotbackup::lmdb
