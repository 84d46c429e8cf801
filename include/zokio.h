/* SPDX-License-Identifier: MIT */
/*
 * zokio.h - all of zokio that needs nothing but C. By themselves stand
 * <zokio/process.h>, which needs the POSIX signal names, and
 * <zokio/testing.h>.
 */
#ifndef ZOKIO_H
#define ZOKIO_H

#include <zokio/base.h>
#include <zokio/io.h>
#include <zokio/memory.h>
#include <zokio/metrics.h>
#include <zokio/net.h>
#include <zokio/runtime.h>
#include <zokio/task.h>
#include <zokio/time.h>

#endif
