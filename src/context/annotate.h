/* SPDX-License-Identifier: MIT */
/*
 * annotate.h - tell ASan, TSan and Valgrind which stack runs.
 *
 * Empty in plain builds. The order round a switch is
 *
 *      zk_annotate_leave(&from, &to);
 *      prev = zk__context_switch(...);
 *      zk_annotate_arrive(&self);
 */
#ifndef ZK_CONTEXT_ANNOTATE_H
#define ZK_CONTEXT_ANNOTATE_H

#include "utils/compiler.h"

/* To be filled in: see the four functions below. */
struct zk_annotation {
    const void *bottom; /* lowest address of the stack */
    size_t size;
    void *fake_stack;   /* ASan's, while suspended */
    void *fiber;        /* TSan's */
};

/* A task got the stack [bottom, bottom + size). */
ZK_INLINE void zk_annotate_attach(struct zk_annotation *a, const void *bottom,
                                  size_t size)
{
    a->bottom = bottom;
    a->size = size;
}

/* The task is gone; another context runs. */
ZK_INLINE void zk_annotate_detach(struct zk_annotation *a)
{
    (void)a;
}

/* `a` stands for the calling thread's own stack. */
ZK_INLINE void zk_annotate_thread(struct zk_annotation *a)
{
    (void)a;
}

ZK_INLINE void zk_annotate_leave(struct zk_annotation *from,
                                 struct zk_annotation *to)
{
    (void)from;
    (void)to;
}

ZK_INLINE void zk_annotate_leave_forever(struct zk_annotation *from,
                                         struct zk_annotation *to)
{
    (void)from;
    (void)to;
}

ZK_INLINE void zk_annotate_arrive(struct zk_annotation *self)
{
    (void)self;
}

#endif
