/* SPDX-License-Identifier: Apache-2.0
 *
 * For programs that want more than transparency. Capture itself needs none of this: loading
 * libhotbackup.so, or linking it before -llmdb, is enough. docs/capture.md
 */
#ifndef HOTBACKUP_H
#define HOTBACKUP_H

#include <lmdb.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What hotbackup_role returns. */
#define HOTBACKUP_NOT_CAPTURED 0
#define HOTBACKUP_MASTER 1
#define HOTBACKUP_SLAVE 2
#define HOTBACKUP_FENCED 3

/* Levels of hotbackup_wait: the update is in a slave's synced journal, or readers of a slave's copy
 * see it. On a slave: in this node's own journal, or visible here. */
#define HOTBACKUP_JOURNALED 1
#define HOTBACKUP_APPLIED 2

/* Number of the update that this thread's last commit in this environment became; 0 if none. */
uint64_t hotbackup_last_update(MDB_env* env);

/* Waits until update `number` has reached `level` on any one slave. timeout_ms < 0 waits for ever,
 * 0 asks only. 0, ETIMEDOUT, or EINVAL for an environment in no group or an unknown level. */
int hotbackup_wait(MDB_env* env, uint64_t number, int level, int timeout_ms);

/* This node's role in the environment's group, one of the above. */
int hotbackup_role(MDB_env* env);

#ifdef __cplusplus
}
#endif

#endif
