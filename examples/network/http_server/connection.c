/* SPDX-License-Identifier: MIT */
/*
 * connection.c - a connection from its first byte to its close.
 *
 * One loop: read, answer what came, write all the answers at once. A cancel is
 * how the runtime says that the server stops: then a request that has arrived
 * is still answered, and one that is half here or half answered is finished,
 * shielded, within DRAIN_LIMIT.
 */
#include "http_server.h"

#include <errno.h>

struct connection {
    zk_fd_t fd;
    zk_time_t read_deadline;  /* moves when the client makes progress */
    zk_time_t drain_deadline; /* 0 until the server stops */
    struct request request;
    struct output out;
    char in[INPUT_SIZE];
};

zk_time_t connection_idle_limit = ZK_SEC(30);

static void connection_drain(struct connection *c)
{
    c->drain_deadline = zk_after(DRAIN_LIMIT);
    zk_shield_begin();
}

static ssize_t connection_read(struct connection *c)
{
    zk_time_t deadline = c->drain_deadline ? c->drain_deadline
                                           : c->read_deadline;
    ssize_t n = zk_read(c->fd, c->in, sizeof(c->in), deadline);

    if (n == -ECANCELED) {
        connection_drain(c);
        /* In the past: one try. */
        deadline = c->request.receiving ? c->drain_deadline : zk_after(-1);
        n = zk_read(c->fd, c->in, sizeof(c->in), deadline);
    }
    return n;
}

static int connection_write(struct connection *c)
{
    zk_time_t deadline = c->drain_deadline ? c->drain_deadline
                                           : zk_after(WRITE_LIMIT);
    size_t done = 0, len = c->out.len;
    int rc = zk_write_all(c->fd, c->out.data, len, &done, deadline);

    if (rc == -ECANCELED) {
        connection_drain(c);
        rc = zk_write_all(c->fd, c->out.data + done, len - done, NULL,
                          c->drain_deadline);
    }
    c->out.len = 0;
    return rc;
}

/* Answer `len` bytes of input, in one write unless the output fills up. */
static int connection_answer(struct connection *c, size_t len)
{
    size_t taken = 0;
    int rc = 0;

    while (rc == 0 && taken < len && !c->request.last) {
        taken += request_parse(&c->request, c->in + taken, len - taken);
        if (c->out.len > 0)
            rc = connection_write(c);
    }
    return rc;
}

/*
 * To close with input unread makes the kernel send a reset, which can overtake
 * the answer. So say that we are done, and listen until the client is too.
 */
static void connection_linger(struct connection *c)
{
    zk_time_t deadline = zk_after(LINGER_LIMIT);

    if (zk_shutdown(c->fd, ZK_SHUTDOWN_WRITE) < 0)
        return;
    while (zk_read(c->fd, c->in, sizeof(c->in), deadline) > 0)
        continue;
}

void connection_serve(void *arg)
{
    struct connection c;
    ssize_t n = 0;
    int rc = 0;

    c.fd = (zk_fd_t)(intptr_t)arg;
    c.drain_deadline = 0;
    c.out.len = 0;
    c.out.second = 0; /* the date was never made */
    request_init(&c.request, &c.out);
    c.read_deadline = zk_after(connection_idle_limit);
    while (rc == 0 && !c.request.last && (n = connection_read(&c)) > 0) {
        rc = connection_answer(&c, (size_t)n);
        /* A whole head must arrive within the limit, not just a byte of it. */
        if (c.request.progress)
            c.read_deadline = zk_after(connection_idle_limit);
        c.request.progress = false;
    }
    if (rc == 0 && c.request.last)
        connection_linger(&c);
    zk_close(c.fd);
}
