/* SPDX-License-Identifier: MIT */
/* net.h - addresses, as the rest of net/ needs them. */
#ifndef ZK_NET_NET_H
#define ZK_NET_NET_H

#include "platform/platform.h"
#include "utils/compiler.h"
#include "zokio/net.h"

ZK_INLINE struct sockaddr *zk_addr_sockaddr(zk_addr_t *addr)
{
    return (struct sockaddr *)(void *)addr->storage;
}

/* What a host part may stand for besides a number. */
enum zk_host_kind { ZK_HOST_NUMERIC, ZK_HOST_ANY, ZK_HOST_LOCAL };

/* As zk_addr_parse(); for "*" and "localhost" the IPv6 form if `v6`, and which
 * of the kinds it was. */
int zk__addr_parse(const char *text, bool v6, zk_addr_t *out,
                   enum zk_host_kind *kind);

#endif
