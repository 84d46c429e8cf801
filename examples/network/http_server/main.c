/* SPDX-License-Identifier: MIT */
/*
 * main.c - an HTTP/1.1 server of one page, with keep-alive and pipelining.
 *
 *   build/examples/http_server 127.0.0.1:8080
 *   curl -i http://127.0.0.1:8080/
 *   HTTP_IDLE_MS=500 build/examples/http_server '*:8080'
 *
 * HTTP_IDLE_MS is how long a silent client is kept; 30 s without it. SIGINT or
 * SIGTERM stops the server within a few seconds: idle connections are closed,
 * requests that have arrived are answered.
 *
 * Shows: a protocol over calls that look blocking, a foreign parser that is
 * never inside while we wait, and a drain by cancellation (connection.c).
 */
#include "http_server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <zokio/process.h>

/* Owns the closing of the listener, which ends the accept loop. */
static void stop_on_signal(void *arg)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (zk_signal_wait(&set, NULL, ZK_FOREVER) > 0)
        zk_shutdown_begin();
    zk_close((zk_fd_t)(intptr_t)arg);
}

static int address_print(zk_fd_t listener)
{
    char text[ZK_ADDR_TEXT];
    zk_addr_t addr;
    int rc = zk_sock_local(listener, &addr);

    if (rc == 0)
        rc = zk_addr_format(&addr, text, sizeof(text));
    if (rc >= 0)
        rc = printf("listening on %s\n", text) < 0 || fflush(stdout) ? -EIO : 0;
    return rc;
}

static int server(void *arg)
{
    zk_fd_t listener = zk_listen_tcp(arg, NULL), fd;
    int rc;

    if (listener < 0)
        return listener;
    rc = address_print(listener);
    if (rc == 0)
        rc = zk_go(stop_on_signal, (void *)(intptr_t)listener);
    if (rc < 0) {
        zk_close(listener);
        return rc;
    }
    while ((fd = zk_accept(listener, NULL, ZK_FOREVER)) >= 0) {
        if (zk_go(connection_serve, (void *)(intptr_t)fd) < 0)
            zk_close(fd); /* out of memory: drop this client, not the server */
    }
    /* What is left is cancelled when this returns: connection_drain(). */
    return fd == -ESHUTDOWN || fd == -EBADF ? 0 : fd;
}

int main(int argc, char **argv)
{
    const char *idle = getenv("HTTP_IDLE_MS");
    long ms = idle ? strtol(idle, NULL, 10) : 30000;
    int rc;

    if (argc != 2 || ms < 1 || ms > 86400000) {
        fprintf(stderr, "usage: [HTTP_IDLE_MS=1..86400000] %s HOST:PORT\n",
                argv[0]);
        return EXIT_FAILURE;
    }
    connection_idle_limit = ZK_MS(ms);
    http_parser_set_max_header_size(HEADER_LIMIT);
    rc = zk_run(NULL, server, argv[1]);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", argv[1], zk_strerror(rc));
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
