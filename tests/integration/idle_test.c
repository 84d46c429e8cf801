/* SPDX-License-Identifier: MIT */
/* A process with nothing to do does nothing. */
#include "integration/integration.h"

#include <dirent.h>
#include <stdio.h>

/* Of all threads of this process. */
static long context_switches(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    long sum = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[300], line[128];
        long n;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/self/task/%s/status",
                 entry->d_name);
        f = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        while (f != NULL && fgets(line, sizeof(line), f) != NULL)
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
                sum += n;
        if (f != NULL)
            fclose(f);
    }
    if (dir != NULL)
        closedir(dir);
    return sum;
}

RUN_TEST(an_idle_server_wakes_less_than_ten_times_a_second)
{
    char text[ZK_ADDR_TEXT];
    zk_fd_t listener = listen_local(text, 0);
    long before;

    /* The monitor needs a moment to see that all sleep. */
    EXPECT_EQ(zk_accept(listener, NULL, zk_after(ZK_MS(300))), -ETIMEDOUT);
    before = context_switches();
    EXPECT_EQ(zk_accept(listener, NULL, zk_after(ZK_SEC(2))), -ETIMEDOUT);
    EXPECT_LT(context_switches() - before, 20);
    zk_close(listener);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(an_idle_server_wakes_less_than_ten_times_a_second));
}
