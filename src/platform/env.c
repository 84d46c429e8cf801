/* SPDX-License-Identifier: MIT */
/* env.c - environment variables, a random number, a line on standard error. */
#include "platform/platform.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "utils/compiler.h"

const char *zk__env(const char *name)
{
    const char *value = secure_getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

uint64_t zk__random_seed(void)
{
    static _Atomic uint64_t calls;
    uint64_t seed;

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        return seed;
    /* Early at boot, or forbidden: differ at least from run to run and from
     * call to call. The generators spread it themselves. */
    return (uint64_t)zk__clock_now() ^ ((uint64_t)getpid() << 40) ^
           (uint64_t)(uintptr_t)&seed ^
           (zk_atomic_add(&calls, 1, relaxed) << 56);
}

void zk__stderr_line(const char *text)
{
    char newline = '\n';
    union {
        const char *from;
        void *to;
    } base = {.from = text};
    struct iovec iov[2] = {
        {.iov_base = base.to, .iov_len = strlen(text)},
        {.iov_base = &newline, .iov_len = 1},
    };

    /* One call, so that lines of several threads do not mix. If it fails there
     * is nobody left to tell. */
    (void)zk__sys_writev(STDERR_FILENO, iov, 2);
}
