/* SPDX-License-Identifier: MIT */
/* Rings far too small for what is in flight. */
#include "integration/integration.h"

enum { PAIRS = 250, ROUNDS = 20 };

struct echo {
    zk_fd_t fd;
    int rounds;
};

static int echo_side(void *arg)
{
    struct echo *e = arg;
    char buf[64];
    ssize_t n;

    while ((n = zk_read(e->fd, buf, sizeof(buf), BOUND)) > 0)
        if (zk_write_all(e->fd, buf, (size_t)n, NULL, BOUND) < 0)
            return -EIO;
    return (int)n;
}

static int ask_side(void *arg)
{
    struct echo *e = arg;
    char out[64], in[64];

    for (e->rounds = 0; e->rounds < ROUNDS; e->rounds++) {
        memset(out, 'a' + e->rounds, sizeof(out));
        if (zk_write_all(e->fd, out, sizeof(out), NULL, BOUND) < 0 ||
            zk_read_full(e->fd, in, sizeof(in), NULL, BOUND) < 0 ||
            memcmp(in, out, sizeof(in)) != 0)
            return -EIO;
    }
    return zk_shutdown(e->fd, ZK_SHUTDOWN_WRITE);
}

RUN_TEST_CONFIG(five_hundred_connections_work_with_rings_of_two_and_four,
                .sq_entries = 2, .cq_entries = 4)
{
    static struct echo side[PAIRS][2];
    zk_task_t task[PAIRS][2];

    for (int i = 0; i < PAIRS; i++) {
        zk_fd_t fd[2] = {-1, -1};

        if (!tcp_pair(fd))
            return;
        for (int k = 0; k < 2; k++) {
            side[i][k].fd = fd[k];
            EXPECT_EQ(zk_spawn(&task[i][k], NULL, k ? echo_side : ask_side,
                               &side[i][k]),
                      0);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        EXPECT_EQ(result_of(task[i][0]), 0);
        EXPECT_EQ(result_of(task[i][1]), 0);
        EXPECT_EQ(side[i][0].rounds, ROUNDS);
        EXPECT_EQ(zk_close(side[i][0].fd), 0);
        EXPECT_EQ(zk_close(side[i][1].fd), 0);
    }
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(five_hundred_connections_work_with_rings_of_two_and_four));
}
