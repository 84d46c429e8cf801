/* SPDX-License-Identifier: MIT */
/*
 * tcp_client.c - send the lines of standard input, print the reply to each.
 *
 *   build/examples/tcp_client 127.0.0.1:7000
 *
 * Shows: zk_dial_tcp(), one deadline for a whole reply however many reads it
 * takes, and that zk_read() waits for a terminal or pipe as well.
 */
#include <zokio.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_LIMIT ZK_SEC(5)

/* A descriptor and what was read from it beyond the last line. */
struct stream {
    zk_fd_t fd;
    size_t taken; /* bytes at the front that were a line */
    size_t len;
    char buf[4096];
};

/* The next line with its newline; the last one may lack it. `*line` stays valid
 * until the next call. 0 is the end, -EMSGSIZE a line that does not fit. */
static ssize_t read_line(struct stream *s, char **line, zk_time_t deadline)
{
    size_t searched = 0;
    ssize_t n = 1;

    s->len -= s->taken;
    memmove(s->buf, s->buf + s->taken, s->len);
    for (;;) {
        char *end = memchr(s->buf + searched, '\n', s->len - searched);

        if (end || n == 0) {
            s->taken = end ? (size_t)(end - s->buf) + 1 : s->len;
            *line = s->buf;
            return (ssize_t)s->taken;
        }
        s->taken = 0;
        searched = s->len;
        if (s->len == sizeof(s->buf))
            return -EMSGSIZE;
        n = zk_read(s->fd, s->buf + s->len, sizeof(s->buf) - s->len, deadline);
        if (n < 0)
            return n;
        s->len += (size_t)n;
    }
}

static int client(void *arg)
{
    struct stream input = {.fd = 0}, peer = {.fd = -1};
    char *line;
    ssize_t n;
    int rc;

    peer.fd = zk_dial_tcp(arg, zk_after(REPLY_LIMIT));
    if (peer.fd < 0)
        return peer.fd;
    while ((n = read_line(&input, &line, ZK_FOREVER)) > 0) {
        zk_time_t deadline = zk_after(REPLY_LIMIT);

        rc = zk_write_all(peer.fd, line, (size_t)n, NULL, deadline);
        if (rc == 0 && line[n - 1] != '\n')
            rc = zk_write_all(peer.fd, "\n", 1, NULL, deadline);
        n = rc < 0 ? rc : read_line(&peer, &line, deadline);
        if (n == 0)
            n = -ECONNRESET; /* the peer left without a reply */
        if (n < 0)
            break;
        if (fwrite(line, 1, (size_t)n, stdout) != (size_t)n || fflush(stdout))
            n = -EIO;
    }
    rc = zk_close(peer.fd);
    return n < 0 ? (int)n : rc;
}

int main(int argc, char **argv)
{
    int rc;

    if (argc != 2) {
        fprintf(stderr, "usage: %s HOST:PORT\n", argv[0]);
        return EXIT_FAILURE;
    }
    rc = zk_run(NULL, client, argv[1]);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", argv[1], zk_strerror(rc));
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
