/* SPDX-License-Identifier: MIT */
/*
 * fd_table.h - what zokio knows about each descriptor. (fd_table.c)
 */
#ifndef ZK_IO_FD_TABLE_H
#define ZK_IO_FD_TABLE_H

#include "scheduler/waitq.h"
#include "utils/atomic.h"
#include "utils/list.h"
#include "zokio/base.h"

struct zk_backend;
struct zk_backend_ops;

enum zk_direction { ZK_DIR_READ = 0, ZK_DIR_WRITE = 1 };

/* slot->state: generation << 8 | flags */
enum zk_slot_flags {
    ZK_SLOT_OURS = 1u << 0,    /* made or adopted by zokio */
    ZK_SLOT_CLOSING = 1u << 1, /* out of service */
    ZK_SLOT_FREEING = 1u << 2, /* close(2) runs: the number may come back */
};
#define ZK_SLOT_GENERATION ((uint64_t)0x100)

/* slot->hints[direction], owner of the turn only */
enum zk_slot_hints {
    ZK_HINT_DRAINED = 1u << 0, /* the last try took all there was: wait first */
    ZK_HINT_HANGUP = 1u << 1,  /* the peer ended: no further edge may come */
    ZK_HINT_MORE = 1u << 2,    /* the last completion left something behind */
};

/* The turn of one direction: who reads (or writes) now, and who is next. */
struct zk_turn {
    _Atomic uintptr_t owner; /* task | TURN_WAITERS; 0: free */
    struct zk_waitq queue;
};

struct zk_fd_slot {
    _Atomic uint64_t state;
    _Atomic uint8_t kind; /* enum zk_fd_kind */
    _Atomic uint8_t hints[2];
    _Atomic uint8_t accept_report; /* a listener's ZK_ACCEPT_REPORT */
    _Atomic uint32_t n_users;      /* pollers: waits that take no turn */
    struct zk_turn turn[2];
    struct zk_waitq closer;       /* waits for users to leave */
    struct zk_waitq pollers_lock; /* lock of `pollers` only */
    struct zk_list pollers;       /* their operations, by op->user */

    /* readiness.c */
    _Atomic uintptr_t latch[2];
    struct zk_waitq home_lock;       /* lock of `home` and its registration */
    struct zk_backend *_Atomic home; /* NULL: not registered */
    _Atomic uint8_t foreign_wakes;   /* in a row; home writes */
};

/* The slot of `fd`, made if need be; NULL: no memory or `fd` out of range. */
struct zk_fd_slot *zk__fd_slot(int fd);
/* The slot if it was ever used; NULL otherwise. */
struct zk_fd_slot *zk__fd_slot_peek(int fd);
/* zokio made `fd` or was given it: reset its slot. 0 or -ENOMEM. Whoever still
 * waits on an older descriptor of this number gets -EBADF. */
int zk__fd_register(int fd, enum zk_fd_kind kind);

/* The world of `fd` has ended, with tasks that used it: nobody does now. */
void zk__fd_abandon(int fd);

/* `b` ends: no slot has it for a home any more. */
void zk__fd_table_leave(struct zk_backend *b);

/* Descriptors of the simulator: above all of a kernel. */
enum { ZK_SIM_FD_FIRST = 1 << 21, ZK_FD_MAX = (1 << 22) - 1 };

/* ---- turns (turn.c) ------------------------------------------------------ */

struct zk_task;

/* Wait until `self` is the one reader or writer: 0, -EBADF, -ETIMEDOUT or
 * -ECANCELED. */
int zk__turn_wait(struct zk_fd_slot *slot, unsigned direction,
                  struct zk_task *self, zk_time_t deadline);
void zk__turn_pass(struct zk_fd_slot *slot, unsigned direction,
                   struct zk_task *self);
/* Nobody gets a turn any more: those in the queue get -EBADF. */
void zk__turn_close(struct zk_fd_slot *slot, unsigned direction);
/* Who has the turn; NULL: nobody. */
struct zk_task *zk__turn_owner(struct zk_fd_slot *slot, unsigned direction);
/* A user has left a slot that is closing: the closer looks again. */
void zk__slot_left(struct zk_fd_slot *slot);

#endif
