/* SPDX-License-Identifier: MIT */
/*
 * common.h - a connection of the hand-written servers: bytes in, bytes out.
 *
 * What is to be sent is the input itself (echo) or answers to it (http). The
 * answers of a batch are made in one buffer of the program; only what the
 * kernel does not take at once is copied and kept with the connection.
 */
#ifndef COMPARISON_COMMON_H
#define COMPARISON_COMMON_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bench.h"
#include "common/http.h"

struct conn {
    int fd;
    bool last; /* close once `rest` is out */
    size_t in_len;
    char *rest; /* unsent, on the heap; NULL: nothing */
    size_t rest_at, rest_len;
    char in[HTTP_IN];
};

/* Chosen once, before the first connection. */
static bool serve_http;

static inline bool serve_choose(const char *workload)
{
    serve_http = strcmp(workload, "http") == 0;
    if (serve_http || strcmp(workload, "echo") == 0)
        return true;
    fprintf(stderr, "this program has the workloads echo and http\n");
    return false;
}

static inline struct conn *conn_make(int fd)
{
    struct conn *c = malloc(sizeof *c);

    if (c == NULL)
        return NULL;
    c->fd = fd;
    c->last = false;
    c->in_len = 0;
    c->rest = NULL;
    return c;
}

static inline void conn_free(struct conn *c)
{
    close(c->fd);
    free(c->rest);
    free(c);
}

/*
 * `in_len` bytes are in `in`: what to send for them? The bytes stay valid until
 * the next call on any connection. False: the peer talks nonsense.
 */
static inline bool conn_answer(struct conn *c, const char **data, size_t *len)
{
    static char out[HTTP_OUT];
    size_t used;
    ssize_t n;

    if (!serve_http) {
        *data = c->in;
        *len = c->in_len;
        c->in_len = 0;
        return true;
    }
    n = http_answer(c->in, c->in_len, &used, out, &c->last);
    if (n < 0)
        return false;
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
    *data = out;
    *len = (size_t)n;
    return true;
}

/* Keep what was not sent. */
static inline bool conn_keep(struct conn *c, const char *data, size_t len)
{
    c->rest = malloc(len);
    if (c->rest == NULL)
        return false;
    memcpy(c->rest, data, len);
    c->rest_at = 0;
    c->rest_len = len;
    return true;
}

/* send(2) without waiting: bytes taken, 0 if there is no room, -1. */
static inline ssize_t conn_send(int fd, const char *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

#endif
