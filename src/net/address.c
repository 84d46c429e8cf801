/* SPDX-License-Identifier: MIT */
/* address.c - addresses as text and back, without looking up names. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

_Static_assert(sizeof(zk_addr_t) == 128, "an address is 128 bytes");
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof(((zk_addr_t *)0)->storage),
               "an address holds a socket address");

enum { HOST_MAX = 64 };

/* "host:port" or "[host]:port" into its halves; host without the brackets. */
static int split(const char *text, char host[HOST_MAX], const char **port)
{
    const char *end, *start = text;
    size_t length;

    if (*text == '[') {
        start = text + 1;
        end = strchr(start, ']');
        if (end == NULL || end[1] != ':')
            return -EINVAL;
        *port = end + 2;
    } else {
        end = strchr(text, ':');
        if (end == NULL || strchr(end + 1, ':') != NULL)
            return -EINVAL; /* no port, or IPv6 without brackets */
        *port = end + 1;
    }
    length = (size_t)(end - start);
    if (length == 0 || length >= HOST_MAX)
        return -EINVAL;
    memcpy(host, start, length);
    host[length] = '\0';
    return 0;
}

static int parse_port(const char *text, uint16_t *out)
{
    unsigned value = 0;

    if (*text == '\0')
        return -EINVAL;
    for (; *text != '\0'; text++) {
        unsigned digit = (unsigned)(*text - '0');

        if (digit > 9)
            return -EINVAL;
        value = value * 10 + digit;
        if (value > UINT16_MAX)
            return -EINVAL;
    }
    *out = (uint16_t)value;
    return 0;
}

static void set_v4(zk_addr_t *out, struct in_addr host, uint16_t port)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = host};

    memset(out, 0, sizeof(*out));
    memcpy(out->storage, &sin, sizeof(sin));
    out->length = sizeof(sin);
}

static void set_v6(zk_addr_t *out, struct in6_addr host, uint32_t scope,
                   uint16_t port)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6,
                                .sin6_port = htons(port),
                                .sin6_addr = host,
                                .sin6_scope_id = scope};

    memset(out, 0, sizeof(*out));
    memcpy(out->storage, &sin6, sizeof(sin6));
    out->length = sizeof(sin6);
}

/* "eth0" or "2" after the % of a link-local address. */
static int parse_scope(const char *text, uint32_t *out)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    *out = if_nametoindex(text);
    if (*out == 0 && *text != '\0' && *end == '\0' && number <= UINT32_MAX)
        *out = (uint32_t)number;
    return *out != 0 ? 0 : -EINVAL;
}

static int parse_numeric(char *host, bool brackets, uint16_t port,
                         zk_addr_t *out)
{
    struct in6_addr v6;
    struct in_addr v4;
    uint32_t scope = 0;
    char *percent;

    if (!brackets) {
        if (inet_pton(AF_INET, host, &v4) != 1)
            return -EINVAL;
        set_v4(out, v4, port);
        return 0;
    }
    percent = strchr(host, '%');
    if (percent != NULL) {
        *percent = '\0';
        if (parse_scope(percent + 1, &scope) < 0)
            return -EINVAL;
    }
    if (inet_pton(AF_INET6, host, &v6) != 1)
        return -EINVAL;
    set_v6(out, v6, scope, port);
    return 0;
}

int zk__addr_parse(const char *text, bool v6, zk_addr_t *out,
                   enum zk_host_kind *kind)
{
    struct in_addr v4_host = {htonl(INADDR_ANY)};
    struct in6_addr v6_host = in6addr_any;
    char host[HOST_MAX];
    const char *port_text;
    uint16_t port;

    if (text == NULL || split(text, host, &port_text) < 0 ||
        parse_port(port_text, &port) < 0)
        return -EINVAL;
    if (strcmp(host, "*") == 0) {
        *kind = ZK_HOST_ANY;
    } else if (strcmp(host, "localhost") == 0) {
        *kind = ZK_HOST_LOCAL;
        v4_host.s_addr = htonl(INADDR_LOOPBACK);
        v6_host = in6addr_loopback;
    } else {
        *kind = ZK_HOST_NUMERIC;
        return parse_numeric(host, *text == '[', port, out);
    }
    if (*text == '[')
        return -EINVAL;
    if (v6)
        set_v6(out, v6_host, 0, port);
    else
        set_v4(out, v4_host, port);
    return 0;
}

int zk_addr_parse(const char *text, zk_addr_t *out)
{
    enum zk_host_kind kind;

    if (out == NULL)
        return -EINVAL;
    return zk__addr_parse(text, false, out, &kind);
}

int zk_addr_format(const zk_addr_t *addr, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN], full[ZK_ADDR_TEXT];
    struct sockaddr_in6 sin6;
    struct sockaddr_in sin;
    int n;

    memcpy(&sin, addr->storage, sizeof(sin));
    memcpy(&sin6, addr->storage, sizeof(sin6));
    if (addr->length == sizeof(sin) && sin.sin_family == AF_INET) {
        inet_ntop(AF_INET, &sin.sin_addr, host, sizeof(host));
        n = snprintf(full, sizeof(full), "%s:%u", host, ntohs(sin.sin_port));
    } else if (addr->length == sizeof(sin6) && sin6.sin6_family == AF_INET6) {
        inet_ntop(AF_INET6, &sin6.sin6_addr, host, sizeof(host));
        if (sin6.sin6_scope_id != 0)
            n = snprintf(full, sizeof(full), "[%s%%%u]:%u", host,
                         sin6.sin6_scope_id, ntohs(sin6.sin6_port));
        else
            n = snprintf(full, sizeof(full), "[%s]:%u", host,
                         ntohs(sin6.sin6_port));
    } else {
        return -EINVAL;
    }
    if ((size_t)n >= size)
        return -ENOSPC;
    memcpy(text, full, (size_t)n + 1);
    return n;
}
