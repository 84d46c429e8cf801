/* SPDX-License-Identifier: MIT */
/*
 * http_server.h - what the files of the server share.
 *
 * main.c accepts; connection.c reads and writes; request.c understands what was
 * read; response.c writes answers into memory.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>
#include <time.h>

#include <http_parser.h>
#include <zokio.h>

#define INPUT_SIZE 8192        /* one read */
#define OUTPUT_SIZE 16384      /* one write: the answers to one read */
#define RESPONSE_MAX 256       /* no answer is longer */
#define HEADER_LIMIT 8192      /* of request line and headers: 431 */
#define TEXT_LIMIT 20          /* no word that we look for is longer */
#define WRITE_LIMIT ZK_SEC(30) /* for a client that does not read */
#define LINGER_LIMIT ZK_SEC(1) /* for a client that does not stop sending */
#define DRAIN_LIMIT ZK_SEC(3)  /* in a shutdown, for what is begun */

/* Answers on their way out. */
struct output {
    time_t second; /* of `date` */
    char date[40]; /* a header line */
    size_t len;
    char data[OUTPUT_SIZE];
};

/* What the parser hands over in fragments; no more is kept than fits. */
struct text {
    size_t len;
    char data[TEXT_LIMIT];
};

/* The request that is being read. */
struct request {
    http_parser parser; /* its `data` is the request */
    struct output *out;
    struct text target;
    struct text name, value; /* of the header in hand */
    unsigned hosts;          /* Host headers seen */
    bool in_value;           /* the last fragment was of a value */
    bool receiving;          /* begun and not complete */
    bool expects;            /* Expect: 100-continue */
    bool awaits_go;          /* ... and the head is complete, no body yet */
    bool progress;           /* began, brought body or ended; we clear it */
    bool last;               /* its answer ends the connection */
};

/* How long a client may be silent. Set before the first connection. */
extern zk_time_t connection_idle_limit;
/* A task: serve the descriptor that `arg` is, and close it. */
void connection_serve(void *arg);

void request_init(struct request *r, struct output *out);

/*
 * Parse, and answer into r->out. Stops early when that is full or r->last; an
 * error is answered and is the last. Never waits. Returns the bytes taken.
 */
size_t request_parse(struct request *r, const char *data, size_t len);

/* Append an answer, of RESPONSE_MAX bytes at most, to r->out. */
void response_append(struct request *r, enum http_status status);

#endif
