/* SPDX-License-Identifier: MIT */
/*
 * server.c - echo and http with a thread for each connection: the program that
 * zokio wants to keep as simple and make cheap. Stacks of 64 KiB.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>

#include "comparison/common.h"

static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void *echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[HTTP_IN];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof buf, 0)) > 0)
        if (!send_all(fd, buf, (size_t)n))
            break;
    close(fd);
    return NULL;
}

static void *http(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char in[HTTP_IN], out[HTTP_OUT];
    size_t len = 0, used;
    bool last = false;
    ssize_t n;

    while (!last && (n = recv(fd, in + len, sizeof in - len, 0)) > 0) {
        len += (size_t)n;
        n = http_answer(in, len, &used, out, &last);
        if (n < 0 || !send_all(fd, out, (size_t)n))
            break;
        len -= used;
        memmove(in, in + used, len);
    }
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    pthread_attr_t attr;
    int listener;

    if (bench_options_parse(&options, "pthread", argc, argv) < 0 ||
        !serve_choose(options.workload))
        return 2;
    listener = bench_listen(options.port);
    if (listener < 0 || pthread_attr_init(&attr) != 0)
        return 1;
    pthread_attr_setstacksize(&attr, 65536);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (pthread_create(&thread, &attr, serve_http ? http : echo,
                           (void *)(intptr_t)fd) != 0) {
            fprintf(stderr, "no thread for a connection\n");
            close(fd);
        }
    }
}
