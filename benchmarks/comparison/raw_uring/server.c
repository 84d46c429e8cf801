/* SPDX-License-Identifier: MIT */
/*
 * server.c - echo and http over a bare io_uring: what the kernel costs.
 *
 * One thread, one ring, callbacks by the kind of operation. The shape is that
 * of zk_read() and zk_write() without a scheduler: a single-shot receive that
 * first waits for data (POLL_FIRST), then send(2) at once, and a send operation
 * only for what the socket did not take. One enter a round submits the
 * receives and brings the completions.
 */
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "comparison/common.h"

enum { SQ_ENTRIES = 4096, CQ_ENTRIES = 32768, BATCH = 256 };

/* The low bits of user_data; the rest is the connection. */
enum { OP_ACCEPT = 0, OP_RECV = 1, OP_SEND = 2, OP_MASK = 3 };

static struct io_uring ring;

static struct io_uring_sqe *sqe_get(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    while (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    return sqe;
}

static void accept_arm(int listener)
{
    struct io_uring_sqe *sqe = sqe_get();

    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = OP_ACCEPT;
}

static void recv_arm(struct conn *c)
{
    struct io_uring_sqe *sqe = sqe_get();

    io_uring_prep_recv(sqe, c->fd, c->in + c->in_len, HTTP_IN - c->in_len, 0);
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    sqe->user_data = (uintptr_t)c | OP_RECV;
}

static void send_arm(struct conn *c)
{
    struct io_uring_sqe *sqe = sqe_get();

    io_uring_prep_send(sqe, c->fd, c->rest + c->rest_at,
                       c->rest_len - c->rest_at, MSG_NOSIGNAL);
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    sqe->user_data = (uintptr_t)c | OP_SEND;
}

static void on_accept(int fd)
{
    int one = 1;
    struct conn *c;

    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c = conn_make(fd);
    if (c != NULL)
        recv_arm(c);
    else
        close(fd);
}

static void on_recv(struct conn *c, int n)
{
    const char *data;
    size_t len;
    ssize_t sent;

    if (n <= 0)
        goto gone;
    c->in_len += (size_t)n;
    if (!conn_answer(c, &data, &len))
        goto gone;
    sent = len > 0 ? conn_send(c->fd, data, len) : 0;
    if (sent < 0)
        goto gone;
    if ((size_t)sent < len) {
        if (!conn_keep(c, data + sent, len - (size_t)sent))
            goto gone;
        send_arm(c);
        return;
    }
    if (c->last)
        goto gone;
    recv_arm(c);
    return;

gone:
    conn_free(c);
}

static void on_send(struct conn *c, int n)
{
    if (n <= 0) {
        conn_free(c);
        return;
    }
    c->rest_at += (size_t)n;
    if (c->rest_at < c->rest_len) {
        send_arm(c);
        return;
    }
    free(c->rest);
    c->rest = NULL;
    if (c->last)
        conn_free(c);
    else
        recv_arm(c);
}

static void on_completion(const struct io_uring_cqe *cqe, int listener)
{
    struct conn *c = (struct conn *)(uintptr_t)(cqe->user_data &
                                                ~(uint64_t)OP_MASK);

    switch (cqe->user_data & OP_MASK) {
    case OP_ACCEPT:
        on_accept(cqe->res);
        if ((cqe->flags & IORING_CQE_F_MORE) == 0)
            accept_arm(listener);
        break;
    case OP_RECV:
        on_recv(c, cqe->res);
        break;
    case OP_SEND:
        on_send(c, cqe->res);
        break;
    }
}

static int ring_make(void)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP |
                 IORING_SETUP_CQSIZE,
        .cq_entries = CQ_ENTRIES,
    };
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &ring, &params);

    if (rc < 0)
        fprintf(stderr, "io_uring: %s\n", strerror(-rc));
    return rc;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    struct io_uring_cqe *batch[BATCH];
    int listener;

    if (bench_options_parse(&options, "raw_uring", argc, argv) < 0 ||
        !serve_choose(options.workload))
        return 2;
    listener = bench_listen(options.port);
    if (listener < 0 || ring_make() < 0)
        return 1;
    accept_arm(listener);
    for (;;) {
        unsigned n;
        int rc = io_uring_submit_and_wait(&ring, 1);

        if (rc < 0 && rc != -EINTR) {
            fprintf(stderr, "io_uring_enter: %s\n", strerror(-rc));
            return 1;
        }
        while ((n = io_uring_peek_batch_cqe(&ring, batch, BATCH)) > 0) {
            for (unsigned i = 0; i < n; i++)
                on_completion(batch[i], listener);
            io_uring_cq_advance(&ring, n);
        }
    }
}
