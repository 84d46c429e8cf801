/* SPDX-License-Identifier: MIT */
/*
 * exception.h - the C++ exceptions that a task has caught.
 *
 * The C++ runtime keeps a list of caught exceptions and a count of uncaught
 * ones per thread. A task that is suspended inside a catch block takes its
 * list along, or another task of the thread would find it. Nothing happens in
 * programs without C++, and two loads in programs with it.
 */
#ifndef ZK_CONTEXT_EXCEPTION_H
#define ZK_CONTEXT_EXCEPTION_H

#include "utils/compiler.h"

/* Itanium C++ ABI, 2.2.2: __cxa_eh_globals. */
struct zk_exception_state {
    void *caught;
    uint32_t uncaught;
};

/* From the C++ runtime; NULL where there is none. */
extern ZK_WEAK struct zk_exception_state *__cxa_get_globals(void);

ZK_INLINE void zk_exception_save(struct zk_exception_state *saved)
{
    struct zk_exception_state *live;

    saved->caught = NULL;
    saved->uncaught = 0;
    if (__cxa_get_globals == NULL)
        return;
    live = __cxa_get_globals();
    *saved = *live;
    live->caught = NULL;
    live->uncaught = 0;
}

/* The thread may be another than at save. */
ZK_INLINE void zk_exception_restore(const struct zk_exception_state *saved)
{
    if (zk_unlikely(saved->caught != NULL || saved->uncaught != 0))
        *__cxa_get_globals() = *saved;
}

#endif
