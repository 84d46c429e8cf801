/* SPDX-License-Identifier: MIT */
/* bench.c - command line, output, clock and socket of the measuring programs. */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int option_number(const char *name, const char *text, uint64_t *out)
{
    char *end = NULL;

    if (text != NULL && *text >= '0' && *text <= '9')
        *out = strtoull(text, &end, 10);
    if (end == NULL || *end != '\0') {
        fprintf(stderr, "%s wants a number\n", name);
        return -1;
    }
    return 0;
}

int bench_options_parse(struct bench_options *out, const char *program,
                        int argc, char **argv)
{
    uint64_t value;

    *out = (struct bench_options){.program = program};
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];

        if (strcmp(arg, "--json") == 0) {
            out->json = true;
        } else if (strncmp(arg, "--", 2) != 0 && out->workload == NULL) {
            out->workload = arg;
        } else {
            /* argv[argc] is NULL, which option_number() refuses. */
            if (option_number(arg, argv[++i], &value) < 0)
                return -1;
            if (strcmp(arg, "--n") == 0) {
                out->n = value;
            } else if (strcmp(arg, "--workers") == 0) {
                out->workers = (unsigned)value;
            } else if (strcmp(arg, "--port") == 0) {
                out->port = (unsigned)value;
            } else if (strcmp(arg, "--deadline") == 0) {
                out->deadline_ms = (int64_t)value;
            } else {
                fprintf(stderr, "unknown option %s\n", arg);
                return -1;
            }
        }
    }
    if (out->workload == NULL) {
        fprintf(stderr,
                "usage: %s WORKLOAD [--n N] [--workers W] [--port P] "
                "[--deadline MS] [--json]\n",
                program);
        return -1;
    }
    return 0;
}

void bench_print(const struct bench_options *options, const char *figure,
                 double value, const char *unit)
{
    if (options->json)
        printf("{\"program\": \"%s\", \"figure\": \"%s\", \"value\": %.3f, "
               "\"unit\": \"%s\", \"n\": %llu, \"workers\": %u}\n",
               options->program, figure, value, unit,
               (unsigned long long)options->n, options->workers);
    else
        printf("%s %s %.3f %s\n", options->program, figure, value, unit);
    fflush(stdout);
}

uint64_t bench_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t bench_cpu(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int bench_listen(unsigned port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port)};
    int one = 1, fd;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        goto fail;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        goto fail;
    return fd;

fail:
    perror("listen");
    if (fd >= 0)
        close(fd);
    return -1;
}
