/* SPDX-License-Identifier: MIT */
/*
 * annotate.h - tell ASan, TSan and Valgrind which stack runs.
 *
 * Empty in plain builds. The order round a switch is
 *
 *      zk_annotate_leave(&from, &to);
 *      prev = zk__context_switch(...);
 *      zk_annotate_arrive(&self);
 *
 * with leave directly before the switch, and arrive first on every landing: in
 * the function that had switched away, and in the entry of a new context. A
 * task that ends says leave_forever and then switches, or starts its successor
 * on its own stack (zk__context_start()); whoever lands says detach for it.
 *
 *      attach  leave -> arrive  leave -> arrive ...  leave_forever   detach
 *      by the dispatcher                           by the task      by the next
 *
 * Invariants
 *   I1  Between leave and arrive runs nothing that is instrumented for long:
 *       the arguments of the switch. So everything here is inlined; a function
 *       that returned in between would be recorded as entered on one stack and
 *       left on the other.
 *   I2  A live annotation has bounds, and under TSan a fiber of its own; a
 *       stack that is used again gets a new one, and its poison is cleared.
 *   I3  After leave_forever no local of the caller whose address was taken may
 *       be used: ASan may have kept it on the fake stack, which is gone.
 *
 * Why TSan is told that a switch synchronises (flag 0, not no_sync). Two tasks
 * on one worker hand over without atomics: the worker's timers, caches, LIFO
 * slot and the record of the parked task are plain memory that one writes and
 * the next reads on the same thread. That order is real, and without the flag
 * each of them is reported. The price: a race in user code between two tasks
 * that always meet on the same worker is not seen; it is when they run on two.
 *
 * Tests: tests/unit/context_test.c, under each tool.
 */
#ifndef ZK_CONTEXT_ANNOTATE_H
#define ZK_CONTEXT_ANNOTATE_H

#include "utils/compiler.h"

#if defined(__SANITIZE_ADDRESS__)
#define ZK_ANNOTATE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ZK_ANNOTATE_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define ZK_ANNOTATE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ZK_ANNOTATE_TSAN 1
#endif
#endif

/* Owned by who runs or dispatches the task. Not written in plain builds. */
struct zk_annotation {
    const void *bottom; /* lowest address of the stack */
    size_t size;
    void *fake_stack; /* ASan's, while suspended; NULL: not started */
    uintptr_t tool;   /* TSan's fiber, or Valgrind's number of the stack */
};

#if defined(ZK_ANNOTATE_ASAN) || defined(ZK_ANNOTATE_TSAN) ||                  \
    defined(ZK_HAVE_VALGRIND)
ZK_INLINE void annotate_bounds(struct zk_annotation *a, const void *bottom,
                               size_t size)
{
    a->bottom = bottom;
    a->size = size;
    a->fake_stack = NULL;
}
#else
#define annotate_bounds(a, bottom, size)                                       \
    ((void)(a), (void)(bottom), (void)(size))
#endif

/* ---- AddressSanitizer ---------------------------------------------------- */

#if defined(ZK_ANNOTATE_ASAN)
enum { ZK_UNDER_ASAN = 1 };
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

/* Frames that were dropped, not returned from, left poison behind. */
ZK_INLINE void annotate_asan_attach(struct zk_annotation *a)
{
    __asan_unpoison_memory_region(a->bottom, a->size);
}

ZK_INLINE void annotate_asan_thread(struct zk_annotation *a)
{
    pthread_attr_t attr;
    void *bottom;

    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return;
    if (pthread_attr_getstack(&attr, &bottom, &a->size) == 0)
        a->bottom = bottom;
    pthread_attr_destroy(&attr);
}

ZK_INLINE void annotate_asan_leave(void **fake_stack,
                                   const struct zk_annotation *to)
{
    __sanitizer_start_switch_fiber(fake_stack, to->bottom, to->size);
}

ZK_INLINE void annotate_asan_arrive(const struct zk_annotation *self)
{
    __sanitizer_finish_switch_fiber(self->fake_stack, NULL, NULL);
}
#else
enum { ZK_UNDER_ASAN = 0 };
#define annotate_asan_attach(a) ((void)(a))
#define annotate_asan_thread(a) ((void)(a))
#define annotate_asan_leave(fake_stack, to) ((void)(fake_stack), (void)(to))
#define annotate_asan_arrive(self) ((void)(self))
#endif

/* ---- ThreadSanitizer ----------------------------------------------------- */

#if defined(ZK_ANNOTATE_TSAN)
#include <sanitizer/tsan_interface.h>

enum { ANNOTATE_TSAN_SYNC = 0 };

ZK_INLINE void annotate_tsan_attach(struct zk_annotation *a)
{
    a->tool = (uintptr_t)__tsan_create_fiber(0);
}

ZK_INLINE void annotate_tsan_thread(struct zk_annotation *a)
{
    a->tool = (uintptr_t)__tsan_get_current_fiber();
}

ZK_INLINE void annotate_tsan_detach(struct zk_annotation *a)
{
    __tsan_destroy_fiber((void *)a->tool);
}

ZK_INLINE void annotate_tsan_leave(const struct zk_annotation *to)
{
    __tsan_switch_to_fiber((void *)to->tool, ANNOTATE_TSAN_SYNC);
}
#else
#define annotate_tsan_attach(a) ((void)(a))
#define annotate_tsan_thread(a) ((void)(a))
#define annotate_tsan_detach(a) ((void)(a))
#define annotate_tsan_leave(to) ((void)(to))
#endif

/* ---- Valgrind ------------------------------------------------------------ */

#if defined(ZK_HAVE_VALGRIND)
#include <valgrind/valgrind.h>

ZK_INLINE void annotate_valgrind_attach(struct zk_annotation *a)
{
    const char *bottom = a->bottom;

    a->tool = VALGRIND_STACK_REGISTER(bottom, bottom + a->size - 1);
}

ZK_INLINE void annotate_valgrind_detach(struct zk_annotation *a)
{
    VALGRIND_STACK_DEREGISTER(a->tool);
}

/* A stack that is inherited keeps the number it has: taking away that of the
 * stack it is on makes Valgrind miss what is pushed next. */
ZK_INLINE void annotate_valgrind_inherit(struct zk_annotation *from,
                                         struct zk_annotation *to)
{
    uintptr_t tool = from->tool;

    if (from->bottom != to->bottom)
        return;
    from->tool = to->tool;
    to->tool = tool;
}
#else
#define annotate_valgrind_attach(a) ((void)(a))
#define annotate_valgrind_detach(a) ((void)(a))
#define annotate_valgrind_inherit(from, to) ((void)(from), (void)(to))
#endif

/* ---- what the scheduler calls -------------------------------------------- */

/*
 * A task that has not run got the stack [bottom, bottom + size). It will run:
 * TSan cannot destroy a fiber that never did. The stack may be the caller's own
 * if the caller is about to end and start the task on it.
 */
ZK_INLINE void zk_annotate_attach(struct zk_annotation *a, const void *bottom,
                                  size_t size)
{
    annotate_bounds(a, bottom, size);
    annotate_asan_attach(a);
    annotate_valgrind_attach(a);
    annotate_tsan_attach(a);
}

/* The task has left for ever; another context runs, perhaps on its stack. */
ZK_INLINE void zk_annotate_detach(struct zk_annotation *a)
{
    annotate_valgrind_detach(a);
    annotate_tsan_detach(a);
}

/* `a` stands for the calling thread's own stack. Called on that stack; ends
 * with the thread, without detach. */
ZK_INLINE void zk_annotate_thread(struct zk_annotation *a)
{
    annotate_bounds(a, NULL, 0);
    annotate_asan_thread(a);
    annotate_tsan_thread(a);
}

/* `from` is the running context; the next statement switches to `to`. */
ZK_INLINE void zk_annotate_leave(struct zk_annotation *from,
                                 struct zk_annotation *to)
{
    annotate_asan_leave(&from->fake_stack, to);
    annotate_tsan_leave(to);
}

/* As zk_annotate_leave(), but nobody will come back to `from`. */
ZK_INLINE void zk_annotate_leave_forever(struct zk_annotation *from,
                                         struct zk_annotation *to)
{
    annotate_valgrind_inherit(from, to);
    annotate_asan_leave(NULL, to);
    annotate_tsan_leave(to);
}

/* The first statement of `self` after the switch. */
ZK_INLINE void zk_annotate_arrive(struct zk_annotation *self)
{
    annotate_asan_arrive(self);
}

#endif
