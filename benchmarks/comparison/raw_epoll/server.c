/* SPDX-License-Identifier: MIT */
/*
 * server.c - echo and http over a bare epoll: what the kernel costs.
 *
 * One thread, edge-triggered, each descriptor registered once for both
 * directions. A receive that brings less than there was room for has emptied
 * the socket, so no second one is made to hear EAGAIN.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "comparison/common.h"

enum { EVENTS = 512 };

static int epoll;

static void on_acceptable(int listener)
{
    for (;;) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP |
                                              EPOLLET};
        int one = 1;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct conn *c;

        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c = conn_make(fd);
        event.data.ptr = c;
        if (c == NULL || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            free(c);
            close(fd);
        }
    }
}

/* Send what was left. False: gone. */
static bool rest_send(struct conn *c)
{
    while (c->rest_at < c->rest_len) {
        ssize_t n = conn_send(c->fd, c->rest + c->rest_at,
                              c->rest_len - c->rest_at);

        if (n <= 0)
            return n == 0;
        c->rest_at += (size_t)n;
    }
    free(c->rest);
    c->rest = NULL;
    return !c->last;
}

/* Answer what came. False: gone. */
static bool input_answer(struct conn *c)
{
    const char *data;
    size_t len;
    ssize_t sent;

    if (!conn_answer(c, &data, &len))
        return false;
    sent = len > 0 ? conn_send(c->fd, data, len) : 0;
    if (sent < 0)
        return false;
    if ((size_t)sent < len)
        return conn_keep(c, data + sent, len - (size_t)sent);
    return !c->last;
}

static bool on_ready(struct conn *c)
{
    bool more = true;

    if (c->rest != NULL && !rest_send(c))
        return false;
    while (more && c->rest == NULL) {
        size_t room = HTTP_IN - c->in_len;
        ssize_t n = recv(c->fd, c->in + c->in_len, room, MSG_DONTWAIT);

        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        more = (size_t)n == room;
        c->in_len += (size_t)n;
        if (!input_answer(c))
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};
    int listener;

    if (bench_options_parse(&options, "raw_epoll", argc, argv) < 0 ||
        !serve_choose(options.workload))
        return 2;
    listener = bench_listen(options.port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    /* accept4() is called until it has no more: the listener must not block. */
    if (listener < 0 || epoll < 0 || fcntl(listener, F_SETFL, O_NONBLOCK) < 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        return 1;
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);

        if (n < 0 && errno != EINTR)
            return 1;
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;

            if (c == NULL)
                on_acceptable(listener);
            else if (!on_ready(c))
                conn_free(c);
        }
    }
}
