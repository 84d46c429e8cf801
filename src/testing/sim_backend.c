/* SPDX-License-Identifier: MIT */
/*
 * sim_backend.c - a backend without an operating system.
 *
 * Streams are rings in memory. An operation that can move bytes does so at
 * once, a random number of them, so that callers meet short reads and writes;
 * one that cannot waits at its end of the stream until the peer changes
 * something, and is then completed with RETRY by the next poll. poll() is also
 * where time passes: with nothing due and nothing runnable the clock jumps to
 * the worker's next deadline, and if there is none the world has come to a halt
 * for ever, which is reported as a deadlock.
 */
#include <errno.h>
#include <string.h>

#include "memory/memory.h"
#include "testing/sim.h"
#include "zokio/testing.h"

struct sim_backend {
    struct zk_backend base;
    struct zk_sim_world *world;
};

static struct zk_sim_world *world_of(struct zk_backend *b)
{
    return container_of(b, struct sim_backend, base)->world;
}

static int sim_probe(void)
{
    return 0;
}

static int sim_init(struct zk_backend **out, struct zk_worker *w,
                    const struct zk_io_setup *setup)
{
    struct sim_backend *s = zk__alloc(sizeof(*s));

    (void)w;
    if (s == NULL)
        return -ENOMEM;
    s->world = setup->sim;
    *out = &s->base;
    return 0;
}

static void sim_fini(struct zk_backend *b)
{
    struct sim_backend *s = container_of(b, struct sim_backend, base);

    zk__fd_table_leave(b);
    zk__free(s, sizeof(*s));
}

/* ---- streams ------------------------------------------------------------------ */

static struct zk_sim_end *end_of(struct zk_sim_world *world, int fd)
{
    uint32_t index = (uint32_t)(fd - ZK_SIM_FD_FIRST);

    return fd >= ZK_SIM_FD_FIRST && index < world->n_ends ? world->ends[index]
                                                          : NULL;
}

/* enum zk_fd_events that `op` waits for. */
static unsigned events_wanted(const struct zk_op *op)
{
    if (op->opcode == ZK_OP_POLL)
        return op->events;
    return op->opcode == ZK_OP_READ ? ZK_READABLE : ZK_WRITABLE;
}

/* Whoever waits at `end` for one of `events` is completed by the next poll. */
static void make_due(struct zk_sim_end *end, unsigned events)
{
    struct zk_list *link = end->waiting.next, *next;

    for (; link != &end->waiting; link = next) {
        next = link->next;
        if ((events_wanted(container_of(link, struct zk_op, link)) & events) ==
            0)
            continue;
        zk_list_remove(link);
        zk_list_push(&end->world->due, link);
    }
}

/* 1..n, by the seed: half of the time all of it. */
static size_t some_of(struct zk_sim_world *world, size_t n)
{
    uint64_t dice = zk_rand_next(&world->rand);

    if ((dice & 1) != 0 || n == 1)
        return n;
    return 1 + zk_rand_below(&world->rand, (uint32_t)n);
}

static size_t piece(size_t n, size_t room)
{
    return n < room ? n : room;
}

static size_t ring_read(struct zk_sim_end *end, char *to, size_t n)
{
    for (size_t done = 0, part; done < n; done += part) {
        part = piece(n - done, end->capacity - end->head);
        memcpy(to + done, end->in + end->head, part);
        end->head = (end->head + part) % end->capacity;
    }
    end->length -= n;
    return n;
}

static size_t ring_write(struct zk_sim_end *end, const char *from, size_t n)
{
    for (size_t done = 0, part; done < n; done += part) {
        size_t tail = (end->head + end->length) % end->capacity;

        part = piece(n - done, end->capacity - tail);
        memcpy(end->in + tail, from + done, part);
        end->length += part;
    }
    return n;
}

static int32_t stream_read(struct zk_sim_end *end, void *buf, size_t len)
{
    size_t n;

    if (end->length == 0)
        return end->peer != NULL ? -EAGAIN : 0;
    n = ring_read(end, buf, some_of(end->world, piece(len, end->length)));
    if (end->peer != NULL)
        make_due(end->peer, ZK_WRITABLE);
    return (int32_t)n;
}

static int32_t stream_write(struct zk_sim_end *end, const void *buf, size_t len)
{
    struct zk_sim_end *peer = end->peer;
    size_t room;

    if (peer == NULL)
        return -EPIPE;
    room = peer->capacity - peer->length;
    if (room == 0)
        return -EAGAIN;
    len = ring_write(peer, buf, some_of(end->world, piece(len, room)));
    make_due(peer, ZK_READABLE);
    return (int32_t)len;
}

/* The first buffer of a vector that is not empty: a short transfer. */
static void first_buffer(const struct zk_op *op, void **buf, size_t *len)
{
    *buf = op->data.plain.buf;
    *len = op->data.plain.len;
    if ((op->flags & ZK_OPF_VECTOR) == 0)
        return;
    for (int i = 0; i < op->data.vector.count; i++) {
        *buf = op->data.vector.iov[i].iov_base;
        *len = op->data.vector.iov[i].iov_len;
        if (*len > 0)
            return;
    }
}

static int32_t stream_events(const struct zk_sim_end *end, unsigned wanted)
{
    int32_t events = 0;

    if (end->length > 0 || end->peer == NULL)
        events |= ZK_READABLE;
    if (end->peer == NULL || end->peer->length < end->peer->capacity)
        events |= ZK_WRITABLE;
    events &= (int32_t)wanted;
    if (end->peer == NULL)
        events |= ZK_HANGUP;
    return events != 0 ? events : -EAGAIN;
}

/* ---- operations ------------------------------------------------------------------- */

static enum zk_submit sim_submit(struct zk_backend *b, struct zk_op *op)
{
    struct zk_sim_end *end = end_of(world_of(b), op->fd);
    void *buf;
    size_t len;

    if (end == NULL) {
        op->result = -EBADF; /* a descriptor of the kernel has no place here */
        return ZK_SUBMIT_DONE;
    }
    first_buffer(op, &buf, &len);
    if (op->opcode == ZK_OP_POLL)
        op->result = stream_events(end, op->events);
    else if (len == 0)
        op->result = 0;
    else if (op->opcode == ZK_OP_READ)
        op->result = stream_read(end, buf, len);
    else
        op->result = stream_write(end, buf, len);
    if (op->result != -EAGAIN || (op->flags & ZK_OPF_ONCE) != 0)
        return ZK_SUBMIT_DONE;
    zk_list_push(&end->waiting, &op->link);
    return ZK_SUBMIT_PENDING;
}

/* It waits at its end of the stream, or is due. */
static void sim_cancel(struct zk_backend *b, struct zk_op *op)
{
    zk_list_remove(&op->link);
    zk__op_complete(b, op, -ECANCELED);
}

static void sim_poll(struct zk_backend *b, zk_time_t deadline)
{
    struct zk_sim_world *world = world_of(b);
    struct zk_list *link;
    bool any = false;

    while ((link = zk_list_pop(&world->due)) != NULL) {
        zk__op_complete(b, container_of(link, struct zk_op, link), ZK_OP_RETRY);
        any = true;
    }
    if (any || deadline == 0)
        return;
    if (deadline == ZK_FOREVER) {
        world->deadlock = true;
        zk__scheduler_halt(zk__scheduler_of(b->worker));
    } else if (deadline > world->now) {
        world->now = deadline;
    }
}

static bool sim_pending(struct zk_backend *b)
{
    return !zk_list_empty(&world_of(b)->due);
}

static void sim_wake(struct zk_backend *b)
{
    (void)b; /* the one worker is awake whenever somebody calls this */
}

/* ---- life of streams ----------------------------------------------------------------- */

static void end_free(struct zk_sim_end *end)
{
    zk__free(end->in, end->capacity);
    zk__free(end, sizeof(*end));
}

static void sim_forget(struct zk_fd_slot *slot, int fd)
{
    struct zk_sim_world *world = world_of(zk_atomic_load(&slot->home, relaxed));
    struct zk_sim_end *end = end_of(world, fd);
    struct zk_sim_end *peer = end->peer;

    if (peer != NULL) {
        peer->peer = NULL;
        make_due(peer, ZK_READABLE | ZK_WRITABLE);
    }
    world->ends[fd - ZK_SIM_FD_FIRST] = NULL;
    end_free(end);
}

static struct zk_sim_end *end_make(struct zk_sim_world *world)
{
    struct zk_sim_end *end = zk__alloc(sizeof(*end));

    if (end == NULL)
        return NULL;
    end->in = zk__alloc(world->stream_capacity);
    if (end->in == NULL) {
        zk__free(end, sizeof(*end));
        return NULL;
    }
    zk_list_init(&end->waiting);
    end->capacity = world->stream_capacity;
    end->world = world;
    return end;
}

/* The lowest free number, as a kernel would give. */
static int number_take(struct zk_sim_world *world, struct zk_sim_end *end)
{
    uint32_t i = 0;

    while (i < world->n_ends && world->ends[i] != NULL)
        i++;
    if (i == world->cap_ends) {
        uint32_t cap = world->cap_ends * 2 + 16;
        struct zk_sim_end **ends = zk__alloc(cap * sizeof(struct zk_sim_end *));

        if (ends == NULL)
            return -ENOMEM;
        if (world->n_ends > 0)
            memcpy(ends, world->ends,
                   world->n_ends * sizeof(struct zk_sim_end *));
        zk__free(world->ends, world->cap_ends * sizeof(struct zk_sim_end *));
        world->ends = ends;
        world->cap_ends = cap;
    }
    if (i == world->n_ends)
        world->n_ends++;
    world->ends[i] = end;
    end->fd = ZK_SIM_FD_FIRST + (int)i;
    return 0;
}

void zk__sim_world_fini(struct zk_sim_world *world)
{
    for (uint32_t i = 0; i < world->n_ends; i++) {
        if (world->ends[i] == NULL)
            continue;
        zk__fd_abandon(world->ends[i]->fd); /* by who is stuck in a deadlock */
        end_free(world->ends[i]);
    }
    zk__free(world->ends, world->cap_ends * sizeof(struct zk_sim_end *));
}

/* A numbered and registered end; NULL with nothing left behind. */
static struct zk_sim_end *end_open(struct zk_sim_world *world,
                                   struct zk_backend *b)
{
    struct zk_sim_end *end = end_make(world);

    if (end == NULL)
        return NULL;
    if (number_take(world, end) < 0) {
        end_free(end);
        return NULL;
    }
    if (zk__fd_register(end->fd, ZK_FD_SIM) < 0) {
        world->ends[end->fd - ZK_SIM_FD_FIRST] = NULL;
        end_free(end);
        return NULL;
    }
    zk_atomic_store(&zk__fd_slot(end->fd)->home, b, release);
    return end;
}

int zk_sim_stream(zk_fd_t fd[2])
{
    struct zk_sim_world *world = zk__sim_world();
    struct zk_task *self = zk__task_current();
    struct zk_sim_end *a, *b;
    struct zk_backend *backend;

    if (world == NULL)
        return -EPERM;
    backend = *zk__worker_io(zk_atomic_load(&self->worker, relaxed));
    a = end_open(world, backend);
    if (a == NULL)
        return -ENOMEM;
    b = end_open(world, backend);
    if (b == NULL) {
        zk_close(a->fd);
        return -ENOMEM;
    }
    a->peer = b;
    b->peer = a;
    fd[0] = a->fd;
    fd[1] = b->fd;
    return 0;
}

const struct zk_backend_ops zk__backend_sim = {
    .name = "sim",
    .probe = sim_probe,
    .init = sim_init,
    .fini = sim_fini,
    .submit = sim_submit,
    .cancel = sim_cancel,
    .poll = sim_poll,
    .pending = sim_pending,
    .wake = sim_wake,
    .forget = sim_forget,
};
