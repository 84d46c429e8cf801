/* SPDX-License-Identifier: MIT */
/* error.c - the unified error set: text and kind of every code, by table. */
#include <errno.h>

#include "utils/compiler.h"
#include "zokio/base.h"

struct error_entry {
    int code; /* errno value */
    enum zk_error_kind kind;
    const char *text;
};

static const struct error_entry entries[] = {
    {EPERM, ZK_ERROR_USAGE, "not allowed in this context"},
    {ENOENT, ZK_ERROR_FILE_SYSTEM, "no such file or directory"},
    {ESRCH, ZK_ERROR_USAGE, "stale task handle"},
    {EINTR, ZK_ERROR_IO, "interrupted"},
    {EIO, ZK_ERROR_IO, "input/output error"},
    {ENXIO, ZK_ERROR_IO, "no such device or address"},
    {E2BIG, ZK_ERROR_USAGE, "argument list too long"},
    {EBADF, ZK_ERROR_IO, "descriptor is closed"},
    {EAGAIN, ZK_ERROR_EXHAUSTED, "over a limit, try again"},
    {ENOMEM, ZK_ERROR_EXHAUSTED, "out of memory"},
    {EACCES, ZK_ERROR_FILE_SYSTEM, "permission denied"},
    {EFAULT, ZK_ERROR_USAGE, "bad address"},
    {EBUSY, ZK_ERROR_USAGE, "busy"},
    {EEXIST, ZK_ERROR_FILE_SYSTEM, "file exists"},
    {ENODEV, ZK_ERROR_IO, "no such device"},
    {ENOTDIR, ZK_ERROR_FILE_SYSTEM, "not a directory"},
    {EISDIR, ZK_ERROR_FILE_SYSTEM, "is a directory"},
    {EINVAL, ZK_ERROR_USAGE, "invalid argument"},
    {ENFILE, ZK_ERROR_EXHAUSTED, "out of descriptors in the system"},
    {EMFILE, ZK_ERROR_EXHAUSTED, "out of descriptors in the process"},
    {EFBIG, ZK_ERROR_FILE_SYSTEM, "file too large"},
    {ENOSPC, ZK_ERROR_FILE_SYSTEM, "no space left"},
    {ESPIPE, ZK_ERROR_IO, "descriptor cannot seek"},
    {EROFS, ZK_ERROR_FILE_SYSTEM, "read-only file system"},
    {EPIPE, ZK_ERROR_NETWORK, "the other side is closed"},
    {EDEADLK, ZK_ERROR_USAGE, "would wait for itself"},
    {ENAMETOOLONG, ZK_ERROR_FILE_SYSTEM, "name too long"},
    {ENOSYS, ZK_ERROR_USAGE, "not on this system"},
    {ENOTEMPTY, ZK_ERROR_FILE_SYSTEM, "directory not empty"},
    {ELOOP, ZK_ERROR_FILE_SYSTEM, "too many symbolic links"},
    {ENODATA, ZK_ERROR_IO, "the stream ended early"},
    {EPROTO, ZK_ERROR_NETWORK, "protocol error"},
    {ENOTSOCK, ZK_ERROR_USAGE, "not a socket"},
    {EMSGSIZE, ZK_ERROR_NETWORK, "message too long"},
    {ENOPROTOOPT, ZK_ERROR_USAGE, "no such socket option"},
    {EOPNOTSUPP, ZK_ERROR_USAGE, "not supported"},
    {EAFNOSUPPORT, ZK_ERROR_NETWORK, "address family not supported"},
    {EADDRINUSE, ZK_ERROR_NETWORK, "address in use"},
    {EADDRNOTAVAIL, ZK_ERROR_NETWORK, "address not available"},
    {ENETDOWN, ZK_ERROR_NETWORK, "network is down"},
    {ENETUNREACH, ZK_ERROR_NETWORK, "network unreachable"},
    {ECONNABORTED, ZK_ERROR_NETWORK, "connection aborted"},
    {ECONNRESET, ZK_ERROR_NETWORK, "connection reset by peer"},
    {ENOBUFS, ZK_ERROR_EXHAUSTED, "out of buffers"},
    {EISCONN, ZK_ERROR_NETWORK, "already connected"},
    {ENOTCONN, ZK_ERROR_NETWORK, "not connected"},
    {ESHUTDOWN, ZK_ERROR_SHUTDOWN, "the runtime is shutting down"},
    {ETIMEDOUT, ZK_ERROR_TIMEOUT, "deadline passed"},
    {ECONNREFUSED, ZK_ERROR_NETWORK, "connection refused"},
    {EHOSTUNREACH, ZK_ERROR_NETWORK, "host unreachable"},
    {EALREADY, ZK_ERROR_USAGE, "already under way"},
    {EINPROGRESS, ZK_ERROR_NETWORK, "in progress"},
    {ECANCELED, ZK_ERROR_CANCELLED, "cancelled"},
};

static const struct error_entry *find(int rc)
{
    for (size_t i = 0; i < ZK_ARRAY_LEN(entries); i++)
        if (-entries[i].code == rc)
            return &entries[i];
    return NULL;
}

const char *zk_strerror(int rc)
{
    const struct error_entry *entry;

    if (rc >= 0)
        return "success";
    entry = find(rc);
    return entry != NULL ? entry->text : "unknown error";
}

enum zk_error_kind zk_error_kind(int rc)
{
    const struct error_entry *entry;

    if (rc >= 0)
        return ZK_ERROR_NONE;
    entry = find(rc);
    return entry != NULL ? entry->kind : ZK_ERROR_IO;
}

uint32_t zk_version(void)
{
    return ZK_VERSION;
}

const char *zk_version_string(void)
{
    return ZK_VERSION_STRING;
}
