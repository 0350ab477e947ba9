// SPDX-License-Identifier: Apache-2.0
// Environment flags: what the program asked for, and what LMDB gets underneath. docs/capture.md.
#pragma once

#include <lmdb.h>

namespace hotbackup::capture {

/// What differs underneath and is therefore shown to the program as it asked for it.
inline constexpr unsigned kHiddenFlags = MDB_NOMETASYNC | MDB_NOTLS | MDB_NOLOCK;

/// The journal covers the last transaction, so LMDB's second sync of a commit is left out. Without
/// locks the snapshots of other processes would break, so locks stay, and readers belong to
/// transactions rather than threads, as a program that asked for NOLOCK may expect.
constexpr unsigned flags_underneath(unsigned asked) {
  unsigned flags = asked;
  if ((flags & MDB_RDONLY) == 0) flags |= MDB_NOMETASYNC;
  if ((flags & MDB_NOLOCK) != 0) flags = (flags & ~MDB_NOLOCK) | MDB_NOTLS;
  return flags;
}

constexpr unsigned flags_shown(unsigned underneath, unsigned asked) {
  return (underneath & ~kHiddenFlags) | (asked & kHiddenFlags);
}

/// Whether the program expects a commit to be durable when it returns. NOMETASYNC alone may lose
/// the last transaction in LMDB but costs a sync all the same, so the journal is synced.
constexpr bool commits_are_durable(unsigned asked) {
  if ((asked & MDB_NOSYNC) != 0) return false;
  return (asked & (MDB_WRITEMAP | MDB_MAPASYNC)) != (MDB_WRITEMAP | MDB_MAPASYNC);
}

}  // namespace hotbackup::capture
