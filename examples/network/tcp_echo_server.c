/* SPDX-License-Identifier: MIT */
/*
 * tcp_echo_server.c - a task for each connection.
 *
 *   build/examples/tcp_echo_server 127.0.0.1:7000
 *   nc 127.0.0.1 7000
 *
 * Shows: zk_go(), a deadline on every call that may wait (a silent client is
 * dropped), and a shutdown: SIGINT or SIGTERM ends the accept loop; when the
 * main function returns the runtime cancels the connections, which close.
 */
#include <zokio.h>
#include <zokio/process.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define IDLE_LIMIT ZK_SEC(30)
#define WRITE_LIMIT ZK_SEC(4) /* less than a shutdown waits */

static void serve(void *arg)
{
    zk_fd_t fd = (zk_fd_t)(intptr_t)arg;
    char buf[4096];
    ssize_t n;
    int rc;

    while ((n = zk_read(fd, buf, sizeof(buf), zk_after(IDLE_LIMIT))) > 0) {
        /* What has been taken is given back, even in a shutdown. */
        zk_shield_begin();
        rc = zk_write_all(fd, buf, (size_t)n, NULL, zk_after(WRITE_LIMIT));
        zk_shield_end();
        if (rc < 0)
            break;
    }
    zk_close(fd);
}

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

static int print_address(zk_fd_t listener)
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
    rc = print_address(listener);
    if (rc == 0)
        rc = zk_go(stop_on_signal, (void *)(intptr_t)listener);
    if (rc < 0) {
        zk_close(listener);
        return rc;
    }
    while ((fd = zk_accept(listener, NULL, ZK_FOREVER)) >= 0) {
        if (zk_go(serve, (void *)(intptr_t)fd) < 0)
            zk_close(fd); /* out of memory: drop this client, not the server */
    }
    return fd == -ESHUTDOWN || fd == -EBADF ? 0 : fd;
}

int main(int argc, char **argv)
{
    int rc;

    if (argc != 2) {
        fprintf(stderr, "usage: %s HOST:PORT\n", argv[0]);
        return EXIT_FAILURE;
    }
    rc = zk_run(NULL, server, argv[1]);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", argv[1], zk_strerror(rc));
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
