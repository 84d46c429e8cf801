/* SPDX-License-Identifier: MIT */
/* runq_small_test.c - runq_test.c with a ring of four. */
#define ZK_RUNQ_CAP 4u

#include "runq_test.c"
