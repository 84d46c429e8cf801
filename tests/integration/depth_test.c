/* SPDX-License-Identifier: MIT */
/* How deep a stack of each class is. */
#include "integration/integration.h"

struct dig {
    uint32_t stack_class;
    size_t want; /* bytes of stack */
    char *start;
};

/* Deeper until that much is used; sanitizers make the frames bigger. */
static int dig(void *arg)
{
    volatile char block[1024];
    struct dig *d = arg;
    char *here = __builtin_frame_address(0);

    if (d->start == NULL)
        d->start = here;
    block[0] = block[sizeof(block) - 1] = 1;
    if ((size_t)(d->start - here) < d->want)
        return dig(arg) + block[0] - block[sizeof(block) - 1];
    return zk_yield();
}

RUN_TEST(a_stack_has_the_size_of_its_class)
{
    static const struct dig classes[] = {
        {ZK_STACK_DEFAULT, 128 << 10, NULL}, {ZK_STACK_64K, 24 << 10, NULL},
        {ZK_STACK_256K, 160 << 10, NULL},    {ZK_STACK_1M, 850 << 10, NULL},
        {ZK_STACK_8M, 7500 << 10, NULL},
    };

    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        struct dig d = classes[i];
        zk_spawn_opts_t opts = {.stack_class = d.stack_class};
        zk_task_t task;

        EXPECT_EQ(zk_spawn(&task, &opts, dig, &d), 0);
        EXPECT_EQ(result_of(task), 0);
    }
}

int main(void)
{
    return zk_test_main(ZK_CASE(a_stack_has_the_size_of_its_class));
}
