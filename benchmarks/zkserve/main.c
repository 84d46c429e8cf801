/* SPDX-License-Identifier: MIT */
/*
 * main.c - zkserve: the zokio side of the echo and http benchmarks, a task for
 * each connection.
 *
 *      zkserve echo|http --port P [--workers W] [--deadline MS]
 *
 * With --deadline every read and write has one, that far away; without, they
 * wait for ever. SIGTERM and SIGINT end it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <zokio.h>
#include <zokio/process.h>

#include "common/bench.h"
#include "common/http.h"

static struct bench_options options;
static void (*serve)(void *arg);

static zk_time_t deadline(void)
{
    return options.deadline_ms == 0 ? ZK_FOREVER
                                    : zk_after(ZK_MS(options.deadline_ms));
}

static void echo(void *arg)
{
    zk_fd_t fd = (zk_fd_t)(intptr_t)arg;
    char buf[HTTP_IN];
    ssize_t n;

    while ((n = zk_read(fd, buf, sizeof buf, deadline())) > 0)
        if (zk_write_all(fd, buf, (size_t)n, NULL, deadline()) < 0)
            break;
    zk_close(fd);
}

static void http(void *arg)
{
    zk_fd_t fd = (zk_fd_t)(intptr_t)arg;
    char in[HTTP_IN], out[HTTP_OUT];
    size_t len = 0, used;
    bool last = false;
    ssize_t n;

    while (!last &&
           (n = zk_read(fd, in + len, sizeof in - len, deadline())) > 0) {
        len += (size_t)n;
        n = http_answer(in, len, &used, out, &last);
        if (n < 0 ||
            (n > 0 && zk_write_all(fd, out, (size_t)n, NULL, deadline()) < 0))
            break;
        len -= used;
        memmove(in, in + used, len);
    }
    zk_close(fd);
}

static int listener_run(void *arg)
{
    char address[32];
    zk_fd_t listener, fd;

    (void)arg;
    snprintf(address, sizeof address, "127.0.0.1:%u", options.port);
    listener = zk_listen_tcp(address, NULL);
    if (listener < 0)
        return listener;
    while ((fd = zk_accept(listener, NULL, ZK_FOREVER)) >= 0)
        if (zk_go(serve, (void *)(intptr_t)fd) < 0)
            zk_close(fd);
    zk_close(listener);
    return fd;
}

/* Returning ends the rest. */
static int server_run(void *arg)
{
    zk_task_t task;
    sigset_t set;
    int rc;

    rc = zk_spawn(&task, NULL, listener_run, arg);
    if (rc < 0)
        return rc;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    rc = zk_signal_wait(&set, NULL, ZK_FOREVER);
    zk_cancel(task);
    if (rc < 0)
        return rc;
    /* What the listener says is -ECANCELED, unless it failed before. */
    return zk_join(task, NULL, ZK_FOREVER);
}

int main(int argc, char **argv)
{
    zk_config_t config = {0};
    int rc;

    if (bench_options_parse(&options, "zokio", argc, argv) < 0)
        return 2;
    if (strcmp(options.workload, "echo") == 0) {
        serve = echo;
    } else if (strcmp(options.workload, "http") == 0) {
        serve = http;
    } else {
        fprintf(stderr, "zkserve has the workloads echo and http\n");
        return 2;
    }
    config.workers = options.workers;
    rc = zk_run(&config, server_run, NULL);
    if (rc < 0)
        fprintf(stderr, "zkserve: %s\n", zk_strerror(rc));
    return rc < 0;
}
