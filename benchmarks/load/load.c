/* SPDX-License-Identifier: MIT */
/*
 * load.c - the load generator of the echo benchmarks.
 *
 * One thread on a core of its own drives N connections by epoll, one message
 * in flight on each: a reply is checked byte by byte, its time recorded, and
 * the next message sent. Words are made of connection, message number and
 * place, so an old, foreign or moved reply does not pass.
 *
 * The server is another process. Its use of the processor is read when the
 * warm-up has passed and when the time is over, with the connections still
 * open; the difference divided by the replies in between is the figure that
 * decides, since it does not depend on how fast this program is.
 *
 * Source addresses are spread over 127/8, by process and by connection: ports
 * in TIME_WAIT from an earlier run are never met.
 *
 *      load --port 7000 --pid 1234 --connections 1000 --seconds 3 --core 1
 *
 * With --idle each connection does one echo and then rests, and what is
 * measured is the memory of the server and its wake-ups while nothing happens.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "process.h"

enum { SIZE_MAX_BYTES = 4096, EVENTS = 512, CONNECTIONS_MAX = 19000 };

struct options {
    const char *name;
    unsigned port, connections, size;
    int core;
    pid_t pid;
    double seconds, warm_seconds;
    uint64_t requests; /* 0: until the time is over */
    bool idle, json;
};

struct connection {
    int fd;
    unsigned got; /* bytes of the current reply */
    uint64_t sequence;
    uint64_t sent_at;
    bool answered; /* idle: had its echo */
};

struct load {
    struct options options;
    struct connection *connections;
    int epoll;
    uint64_t done; /* replies since the last reset */
    struct histogram latency;
};

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t word_at(unsigned index, uint64_t sequence, unsigned place)
{
    uint64_t x = ((uint64_t)index << 40) + (sequence << 8) + place;

    return (x ^ (x >> 31)) * 0x9e3779b97f4a7c15u;
}

static void message_fill(struct load *load, const struct connection *c,
                         uint64_t *words)
{
    unsigned index = (unsigned)(c - load->connections);

    for (unsigned i = 0; i < load->options.size / 8; i++)
        words[i] = word_at(index, c->sequence, i);
}

static void message_send(struct load *load, struct connection *c)
{
    uint64_t words[SIZE_MAX_BYTES / 8];
    ssize_t n;

    c->sequence++;
    c->got = 0;
    message_fill(load, c, words);
    c->sent_at = clock_ns();
    n = send(c->fd, words, load->options.size, MSG_NOSIGNAL);
    /* One message in flight always fits into an empty socket buffer. */
    if (n != (ssize_t)load->options.size)
        die("send");
}

/* Read what is there; true if the reply is whole, and right. */
static bool message_receive(struct load *load, struct connection *c)
{
    char reply[SIZE_MAX_BYTES];
    uint64_t words[SIZE_MAX_BYTES / 8];
    /* One byte more than is due: an echo that sends too much is wrong too. */
    size_t room = load->options.size - c->got + 1;
    ssize_t n = recv(c->fd, reply, room < sizeof reply ? room : sizeof reply,
                     MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0)
        die(n == 0 ? "the server closed a connection" : "recv");
    message_fill(load, c, words);
    if (c->got + (size_t)n > load->options.size ||
        memcmp(reply, (char *)words + c->got, (size_t)n) != 0) {
        errno = EBADMSG;
        die("the reply is not what was sent");
    }
    c->got += (unsigned)n;
    return c->got == load->options.size;
}

static int connection_open(const struct load *load, unsigned index)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)load->options.port)};
    struct timeval limit = {.tv_sec = 10}; /* bounds connect(2) */
    uint32_t net = 2 + (uint32_t)getpid() % 60000;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl((127u << 24) + (net << 8) + 1 + index / 8192);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) ||
        bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
        die("socket options");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    return fd;
}

static void connections_open(struct load *load)
{
    for (unsigned i = 0; i < load->options.connections; i++) {
        struct connection *c = &load->connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

        c->fd = connection_open(load, i);
        if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
            die("epoll_ctl");
    }
}

static void reply_done(struct load *load, struct connection *c, uint64_t now)
{
    load->done++;
    histogram_record(&load->latency, now - c->sent_at);
    c->answered = true;
    if (!load->options.idle)
        message_send(load, c);
}

/* Serve replies until `end`, or until `requests` of them have come. */
static void replies_serve(struct load *load, uint64_t end, uint64_t requests)
{
    struct epoll_event events[EVENTS];

    load->done = 0;
    memset(&load->latency, 0, sizeof load->latency);
    while (clock_ns() < end && (requests == 0 || load->done < requests)) {
        int n = epoll_wait(load->epoll, events, EVENTS, 50);

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (message_receive(load, c))
                reply_done(load, c, clock_ns());
        }
    }
}

static void print(const struct load *load, const char *figure, double value,
                  const char *unit)
{
    const struct options *o = &load->options;

    if (o->json)
        printf("{\"program\": \"%s\", \"figure\": \"%s\", \"value\": %.3f, "
               "\"unit\": \"%s\", \"connections\": %u}\n",
               o->name, figure, value, unit, o->connections);
    else
        printf("%s %s %.3f %s\n", o->name, figure, value, unit);
}

static void usage_read(const struct load *load, struct process_usage *out)
{
    memset(out, 0, sizeof *out);
    if (load->options.pid != 0 &&
        process_usage_read(load->options.pid, out) < 0)
        die("reading the server's usage");
}

static void echo_report(const struct load *load, double seconds,
                        const struct process_usage *a,
                        const struct process_usage *b)
{
    const struct histogram *h = &load->latency;
    double requests = (double)load->done;
    double user = (double)(b->user_ticks - a->user_ticks);
    double ticks = user + (double)(b->system_ticks - a->system_ticks);
    double cpu = (double)(b->cpu_ns - a->cpu_ns) / 1e3 / requests;

    print(load, "echo_requests", requests, "count");
    print(load, "echo_rps", requests / seconds, "1/s");
    print(load, "echo_p50", (double)histogram_quantile(h, 0.5) / 1e3, "us");
    print(load, "echo_p99", (double)histogram_quantile(h, 0.99) / 1e3, "us");
    print(load, "echo_p999", (double)histogram_quantile(h, 0.999) / 1e3, "us");
    print(load, "echo_max", (double)h->max / 1e3, "us");
    if (load->options.pid == 0)
        return;
    print(load, "echo_cpu", cpu, "us/request");
    if (ticks > 0) {
        print(load, "echo_cpu_user", cpu * user / ticks, "us/request");
        print(load, "echo_cpu_sys", cpu * (1 - user / ticks), "us/request");
    }
}

static int echo_run(struct load *load)
{
    const struct options *o = &load->options;
    struct process_usage before, after;
    uint64_t start, end;

    connections_open(load);
    for (unsigned i = 0; i < o->connections; i++)
        message_send(load, &load->connections[i]);
    replies_serve(load, clock_ns() + (uint64_t)(o->warm_seconds * 1e9), 0);
    usage_read(load, &before);
    start = clock_ns();
    replies_serve(load, start + (uint64_t)(o->seconds * 1e9), o->requests);
    end = clock_ns();
    usage_read(load, &after);
    if (load->done == 0 || (o->requests != 0 && load->done < o->requests)) {
        fprintf(stderr, "load: too few replies before the time was over\n");
        return 1;
    }
    echo_report(load, (double)(end - start) / 1e9, &before, &after);
    return 0;
}

/* Memory grows in one direction here; a fall is noise, shown as negative. */
static double growth(uint64_t a, uint64_t b, unsigned connections)
{
    return ((double)b - (double)a) / connections;
}

static int idle_run(struct load *load)
{
    const struct options *o = &load->options;
    struct process_usage before, after, rested;
    struct timespec second = {.tv_sec = 1};
    unsigned answered = 0;

    usage_read(load, &before);
    connections_open(load);
    for (unsigned i = 0; i < o->connections; i++)
        message_send(load, &load->connections[i]);
    replies_serve(load, clock_ns() + 10000000000u, o->connections);
    for (unsigned i = 0; i < o->connections; i++)
        answered += load->connections[i].answered;
    if (answered != o->connections) {
        fprintf(stderr, "load: only %u connections were answered\n", answered);
        return 1;
    }
    nanosleep(&second, NULL); /* let the server come to rest */
    usage_read(load, &after);
    nanosleep(&second, NULL);
    usage_read(load, &rested);
    print(load, "idle_conns_rss",
          growth(before.resident_bytes, after.resident_bytes, o->connections),
          "bytes/connection");
    print(
        load, "idle_conns_pte",
        growth(before.page_table_bytes, after.page_table_bytes, o->connections),
        "bytes/connection");
    print(load, "idle_conns_slab",
          growth(before.slab_bytes, after.slab_bytes, o->connections),
          "bytes/connection");
    print(load, "idle_wakeups", (double)(rested.switches - after.switches),
          "1/s");
    return 0;
}

enum { OPT_JSON = 256, OPT_IDLE, OPT_NAME, OPT_WARM, OPT_SIZE, OPT_REQUESTS };

static const struct option long_options[] = {
    {"port", required_argument, NULL, 'p'},
    {"connections", required_argument, NULL, 'c'},
    {"seconds", required_argument, NULL, 's'},
    {"core", required_argument, NULL, 'k'},
    {"pid", required_argument, NULL, 'i'},
    {"warm", required_argument, NULL, OPT_WARM},
    {"size", required_argument, NULL, OPT_SIZE},
    {"requests", required_argument, NULL, OPT_REQUESTS},
    {"name", required_argument, NULL, OPT_NAME},
    {"idle", no_argument, NULL, OPT_IDLE},
    {"json", no_argument, NULL, OPT_JSON},
    {NULL, 0, NULL, 0},
};

static void option_take(struct options *o, int which)
{
    switch (which) {
    case 'p':
        o->port = (unsigned)atoi(optarg);
        break;
    case 'c':
        o->connections = (unsigned)atoi(optarg);
        break;
    case 's':
        o->seconds = atof(optarg);
        break;
    case 'k':
        o->core = atoi(optarg);
        break;
    case 'i':
        o->pid = (pid_t)atoi(optarg);
        break;
    case OPT_WARM:
        o->warm_seconds = atof(optarg);
        break;
    case OPT_SIZE:
        o->size = (unsigned)atoi(optarg);
        break;
    case OPT_REQUESTS:
        o->requests = strtoull(optarg, NULL, 10);
        break;
    case OPT_NAME:
        o->name = optarg;
        break;
    case OPT_IDLE:
        o->idle = true;
        break;
    case OPT_JSON:
        o->json = true;
        break;
    default:
        exit(2);
    }
}

static void options_read(struct options *o, int argc, char **argv)
{
    int which;

    *o = (struct options){.name = "load",
                          .connections = 100,
                          .size = 64,
                          .core = -1,
                          .seconds = 3,
                          .warm_seconds = 0.5};
    while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        option_take(o, which);
    if (optind != argc || o->port == 0 || o->port > 65535 ||
        o->connections == 0 || o->connections > CONNECTIONS_MAX ||
        o->size == 0 || o->size % 8 != 0 || o->size >= SIZE_MAX_BYTES ||
        !(o->seconds > 0 && o->seconds <= 600) ||
        !(o->warm_seconds >= 0 && o->warm_seconds <= 60) ||
        (o->idle && o->pid == 0)) {
        fprintf(stderr, "usage: load --port P [--pid SERVER] "
                        "[--connections N] [--seconds S] [--requests N] "
                        "[--core K]\n            [--warm S] [--size BYTES] "
                        "[--name TEXT] [--idle] [--json]\n");
        exit(2);
    }
}

static void process_prepare(const struct options *o)
{
    struct rlimit limit;
    cpu_set_t set;

    signal(SIGPIPE, SIG_IGN);
    /* Whatever hangs, this ends: connecting, warm-up, measuring and some. */
    alarm((unsigned)(o->seconds + o->warm_seconds) + 60);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (o->core < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((unsigned)o->core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        die("sched_setaffinity");
}

int main(int argc, char **argv)
{
    static struct load load;
    int rc;

    options_read(&load.options, argc, argv);
    process_prepare(&load.options);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.epoll < 0)
        die("epoll_create1");
    load.connections = calloc(load.options.connections,
                              sizeof *load.connections);
    if (load.connections == NULL)
        die("calloc");
    rc = load.options.idle ? idle_run(&load) : echo_run(&load);
    fflush(stdout);
    free(load.connections);
    close(load.epoll);
    return rc;
}
