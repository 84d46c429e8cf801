/* SPDX-License-Identifier: MIT */
/* overflow.h - the report when a task runs off its stack. */
#ifndef ZK_RUNTIME_OVERFLOW_H
#define ZK_RUNTIME_OVERFLOW_H

/* Counted. 0, or -errno: no report then. */
int zk__overflow_install(void);
void zk__overflow_remove(void);

#endif
