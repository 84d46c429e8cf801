/* SPDX-License-Identifier: MIT */
/*
 * base.h - what every other header of zokio needs: attributes, time, error
 * text, versions.
 */
#ifndef ZOKIO_BASE_H
#define ZOKIO_BASE_H

#include <stddef.h>
#include <stdint.h>

#define ZK_VERSION_MAJOR 0
#define ZK_VERSION_MINOR 1
#define ZK_VERSION_PATCH 0
#define ZK_VERSION_STRING "0.1.0"

#define ZK_VERSION_NUMBER(major, minor, patch)                                 \
    (((major) << 16) | ((minor) << 8) | (patch))
#define ZK_VERSION                                                             \
    ZK_VERSION_NUMBER(ZK_VERSION_MAJOR, ZK_VERSION_MINOR, ZK_VERSION_PATCH)

#ifdef __cplusplus
#define ZK_BEGIN_DECLS extern "C" {
#define ZK_END_DECLS }
#else
#define ZK_BEGIN_DECLS
#define ZK_END_DECLS
#endif

#if defined(_WIN32)
#define ZK_API __declspec(dllexport)
#elif defined(__GNUC__)
#define ZK_API __attribute__((visibility("default")))
#else
#define ZK_API
#endif

#if defined(__GNUC__)
#define ZK_MUST_CHECK __attribute__((warn_unused_result))
#else
#define ZK_MUST_CHECK
#endif

/*
 * Marks a call without a deadline that may still give the processor to another
 * task. Such calls, and those whose last parameter is a deadline, are the only
 * places where a task can be suspended.
 */
#define ZK_SWITCHES

/** A descriptor. On POSIX systems the number the kernel gave. */
typedef int zk_fd_t;

/** Nanoseconds: a point on the zk_now() clock, or a span. */
typedef int64_t zk_time_t;

/** The deadline that never passes. */
#define ZK_FOREVER INT64_MAX

#define ZK_NS(n) ((zk_time_t)(n))
#define ZK_US(n) ((zk_time_t)(n)*1000)
#define ZK_MS(n) ((zk_time_t)(n)*1000000)
#define ZK_SEC(n) ((zk_time_t)(n)*1000000000)

/** What went wrong, in eight words; zk_error_kind() maps every code. */
enum zk_error_kind {
    ZK_ERROR_NONE,        /**< rc >= 0 */
    ZK_ERROR_SHUTDOWN,    /**< the runtime is going down */
    ZK_ERROR_CANCELLED,   /**< the task was cancelled */
    ZK_ERROR_TIMEOUT,     /**< a deadline passed */
    ZK_ERROR_EXHAUSTED,   /**< memory, descriptors or a configured limit */
    ZK_ERROR_IO,          /**< descriptor or device */
    ZK_ERROR_NETWORK,     /**< peer, route or address */
    ZK_ERROR_FILE_SYSTEM, /**< path, permission, space */
    ZK_ERROR_USAGE,       /**< wrong argument, context or handle */
};

ZK_BEGIN_DECLS

/**
 * Text for a result of any zokio call.
 *
 * @param rc  the value as it was returned: negative errno; >= 0 is "success".
 *
 * @retval text  static, never NULL; an unknown code gives "unknown error".
 *
 * @context  any; never switches; async-signal-safe.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API const char *zk_strerror(int rc);

/**
 * The kind of an error, for programs that decide by class and not by code.
 *
 * @param rc  the value as it was returned.
 *
 * @retval kind  ZK_ERROR_NONE for rc >= 0; ZK_ERROR_IO for an unknown code.
 *
 * @context  any; never switches; async-signal-safe.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API enum zk_error_kind zk_error_kind(int rc);

/**
 * The version of the library that runs, for comparison with ZK_VERSION.
 *
 * @retval number  ZK_VERSION_NUMBER(major, minor, patch).
 *
 * @context  any; never switches; async-signal-safe.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API uint32_t zk_version(void);

/**
 * The version of the library that runs, as text.
 *
 * @retval text  "major.minor.patch", static.
 *
 * @context  any; never switches; async-signal-safe.
 * @threads  any.
 * @memory   does not allocate.
 * @since    0.1
 */
ZK_API const char *zk_version_string(void);

ZK_END_DECLS

#endif
