/* SPDX-License-Identifier: MIT */
/* registry.c - the backends that were built, best first, and the choice. */
#include <errno.h>
#include <string.h>

#include "io/backend.h"

#if defined(ZK_HAVE_URING)
extern const struct zk_backend_ops zk__backend_uring;
#endif
#if defined(__linux__)
extern const struct zk_backend_ops zk__backend_epoll;
#endif

const struct zk_backend_ops *const zk__backends[] = {
#if defined(ZK_HAVE_URING)
    &zk__backend_uring,
#endif
#if defined(__linux__)
    &zk__backend_epoll,
#endif
    NULL,
};

const char *zk__io_backend_names(void)
{
#if defined(ZK_HAVE_URING)
    return "io_uring or epoll";
#else
    return "epoll (io_uring was not built in)";
#endif
}

static const struct zk_backend_ops *find(const char *name)
{
    for (size_t i = 0; zk__backends[i] != NULL; i++)
        if (strcmp(zk__backends[i]->name, name) == 0)
            return zk__backends[i];
    return NULL;
}

bool zk__io_backend_known(const char *name)
{
    return find(name) != NULL;
}

/* Probing is cheap (a ring or a descriptor opened and closed) and done for each
 * runtime, so that a test can take io_uring away between two. */
const struct zk_backend_ops *zk__io_choose(const char *name, int *rc)
{
    const struct zk_backend_ops *ops;

    *rc = -ENOSYS;
    if (name != NULL) {
        ops = find(name);
        *rc = ops != NULL ? ops->probe() : -EINVAL;
        return *rc == 0 ? ops : NULL;
    }
    for (size_t i = 0; zk__backends[i] != NULL; i++) {
        *rc = zk__backends[i]->probe();
        if (*rc == 0)
            return zk__backends[i];
    }
    return NULL;
}

const char *zk__io_backend_name(const struct zk_backend_ops *ops)
{
    return ops->name;
}
