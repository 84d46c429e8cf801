/* SPDX-License-Identifier: MIT */
/*
 * stream.c - the read and write paths without the kernel.
 *
 * Two tasks pass 64 bytes back and forth through a simulated stream. Its wall
 * time means little; what counts is how many instructions a round trip takes,
 * which `tools/bench gate` watches: the same program makes the same run.
 */
#include <errno.h>
#include <string.h>

#include <zokio/testing.h>

#include "zkbench.h"

enum { MESSAGE = 64 };

struct stream {
    const struct bench_options *options;
    zk_fd_t fd[2];
};

static int message_read(zk_fd_t fd, char *message)
{
    return zk_read_full(fd, message, MESSAGE, NULL, ZK_FOREVER);
}

static int message_write(zk_fd_t fd, const char *message)
{
    return zk_write_all(fd, message, MESSAGE, NULL, ZK_FOREVER);
}

static int echo_task(void *arg)
{
    zk_fd_t fd = *(const zk_fd_t *)arg;
    char message[MESSAGE];
    int rc;

    while ((rc = message_read(fd, message)) == 0) {
        rc = message_write(fd, message);
        if (rc < 0)
            return rc;
    }
    return rc == -ENODATA ? 0 : rc;
}

static int messages_pass(struct stream *s)
{
    char sent[MESSAGE] = {0}, got[MESSAGE];
    int rc = 0;

    for (uint64_t i = 0; i < s->options->n && rc == 0; i++) {
        memcpy(sent, &i, sizeof i);
        rc = message_write(s->fd[0], sent);
        if (rc == 0)
            rc = message_read(s->fd[0], got);
        if (rc == 0 && memcmp(sent, got, MESSAGE) != 0)
            rc = -EBADMSG;
    }
    return rc;
}

static int stream_main(void *arg)
{
    struct stream *s = arg;
    zk_task_t task;
    uint64_t start;
    int rc = zk_sim_stream(s->fd), echoed = 0, joined;

    if (rc < 0)
        return workload_fail("stream", rc);
    rc = zk_spawn(&task, NULL, echo_task, &s->fd[1]);
    if (rc < 0)
        return workload_fail("stream: spawn", rc);
    start = bench_now();
    rc = messages_pass(s);
    start = bench_now() - start;
    zk_close(s->fd[0]); /* the other end reads the end of the stream */
    joined = zk_join(task, &echoed, ZK_FOREVER);
    zk_close(s->fd[1]);
    rc = rc < 0 ? rc : joined < 0 ? joined : echoed;
    if (rc < 0)
        return workload_fail("stream", rc);
    bench_print(s->options, "stream", (double)start / (double)s->options->n,
                "ns/roundtrip");
    return 0;
}

static int stream_run(const struct bench_options *options)
{
    struct stream stream = {.options = options};

    return zk_sim_run(NULL, stream_main, &stream);
}

const struct workload stream_workloads[] = {
    {"stream", "64 bytes there and back through a simulated stream", 200000,
     stream_run},
    {0},
};
