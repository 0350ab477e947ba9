// SPDX-License-Identifier: Apache-2.0
// The log of file calls that interpose.c writes and rebuild.cc reads: one mapped file for all
// processes, whose order is that of reservation. A write is recorded when it is done; a sync when
// it starts and when it is done, and covers what was recorded before its start.
#pragma once

#ifdef __cplusplus
#include <atomic>
#define RECORD_ATOMIC(type) std::atomic<type>
#include <cstdint>
#else
#include <stdatomic.h>
#include <stdint.h>
#define RECORD_ATOMIC(type) _Atomic(type)
#endif

#define kRecordLogBytes (UINT64_C(1) << 31)
#define kRecordLogStart 64

enum {
  kRecordWrite = 1,      // inode, a = offset, payload
  kRecordDurable = 2,    // inode, a = offset, length: this range alone, by O_DSYNC
  kRecordSyncStart = 3,  // inode, path
  kRecordSynced = 4,     // inode, path
  kRecordSyncFailed = 5,
  kRecordSize = 6,    // inode, a = size
  kRecordCreate = 7,  // inode, path
  kRecordRename = 8,  // two paths
  kRecordUnlink = 9,
  kRecordMkdir = 10,
  kRecordSymlink = 11,  // path, target
  kRecordOracle = 12,   // what a writer says about its transactions
};

struct record_log {
  RECORD_ATOMIC(uint64_t) tail;  // starts at kRecordLogStart
  RECORD_ATOMIC(uint64_t) full;
};

struct record_entry {
  uint64_t size;                 // with this head, a multiple of 8
  RECORD_ATOMIC(uint32_t) type;  // set last; 0: the process ended before it was complete
  uint32_t pid;
  uint64_t inode;
  uint64_t a;
  uint64_t length;  // of what the entry is about; bytes in payload unless kRecordDurable
  char payload[8];  // and more
};
