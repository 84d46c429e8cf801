/* SPDX-License-Identifier: MIT */
/*
 * error_test.c - text and kind of every code that zokio returns.
 *
 * The table here is the contract: a code that is added, dropped or changed in
 * src/runtime/error.c without it fails.
 */
#include "zk_test.h"

#include <errno.h>
#include <limits.h>

#include <zokio.h>

enum { LAST_CODE = 4095 }; /* the highest that a kernel returns */

struct expected {
    int code;
    enum zk_error_kind kind;
    const char *text;
};

static const struct expected table[] = {
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

enum { N_CODES = sizeof(table) / sizeof(table[0]) };

static const struct expected *find(int code)
{
    for (int i = 0; i < N_CODES; i++)
        if (table[i].code == code)
            return &table[i];
    return NULL;
}

ZK_TEST(every_code_has_its_text_and_kind)
{
    for (int i = 0; i < N_CODES; i++) {
        EXPECT_STR_EQ(zk_strerror(-table[i].code), table[i].text);
        EXPECT_EQ(zk_error_kind(-table[i].code), table[i].kind);
        EXPECT_NE(table[i].kind, ZK_ERROR_NONE);
        EXPECT_TRUE(find(table[i].code) == &table[i]); /* named once */
    }
}

ZK_TEST(every_other_code_is_unknown)
{
    int known = 0;

    for (int code = 1; code <= LAST_CODE; code++) {
        if (find(code) != NULL) {
            known++;
            continue;
        }
        EXPECT_STR_EQ(zk_strerror(-code), "unknown error");
        EXPECT_EQ(zk_error_kind(-code), ZK_ERROR_IO);
    }
    EXPECT_EQ(known, N_CODES);
    EXPECT_STR_EQ(zk_strerror(INT_MIN), "unknown error");
    EXPECT_EQ(zk_error_kind(INT_MIN), ZK_ERROR_IO);
    EXPECT_STR_EQ(zk_strerror(-LAST_CODE - 1), "unknown error");
}

ZK_TEST(a_result_that_is_not_negative_is_a_success)
{
    static const int results[] = {0, 1, EPERM, ECANCELED, INT_MAX};

    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        EXPECT_STR_EQ(zk_strerror(results[i]), "success");
        EXPECT_EQ(zk_error_kind(results[i]), ZK_ERROR_NONE);
    }
}

/* What the contract of the calls says by name. */
ZK_TEST(the_codes_of_the_contract_are_of_the_kinds_it_names)
{
    EXPECT_EQ(zk_error_kind(-ETIMEDOUT), ZK_ERROR_TIMEOUT);
    EXPECT_EQ(zk_error_kind(-ECANCELED), ZK_ERROR_CANCELLED);
    EXPECT_EQ(zk_error_kind(-ESHUTDOWN), ZK_ERROR_SHUTDOWN);
    EXPECT_EQ(zk_error_kind(-EAGAIN), ZK_ERROR_EXHAUSTED);
    EXPECT_EQ(zk_error_kind(-ENOMEM), ZK_ERROR_EXHAUSTED);
    EXPECT_EQ(zk_error_kind(-EMFILE), ZK_ERROR_EXHAUSTED);
    EXPECT_EQ(zk_error_kind(-EBADF), ZK_ERROR_IO);
    EXPECT_EQ(zk_error_kind(-EPIPE), ZK_ERROR_NETWORK);
    EXPECT_EQ(zk_error_kind(-ECONNRESET), ZK_ERROR_NETWORK);
    EXPECT_EQ(zk_error_kind(-EPERM), ZK_ERROR_USAGE);
    EXPECT_EQ(zk_error_kind(-EDEADLK), ZK_ERROR_USAGE);
    EXPECT_EQ(zk_error_kind(-ESRCH), ZK_ERROR_USAGE);
    EXPECT_EQ(zk_error_kind(-EINVAL), ZK_ERROR_USAGE);
}

ZK_TEST(the_version_is_the_headers)
{
    EXPECT_EQ(zk_version(), ZK_VERSION);
    EXPECT_STR_EQ(zk_version_string(), ZK_VERSION_STRING);
}

int main(void)
{
    return zk_test_main(
        ZK_CASE(every_code_has_its_text_and_kind),
        ZK_CASE(every_other_code_is_unknown),
        ZK_CASE(a_result_that_is_not_negative_is_a_success),
        ZK_CASE(the_codes_of_the_contract_are_of_the_kinds_it_names),
        ZK_CASE(the_version_is_the_headers));
}
