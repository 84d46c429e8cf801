/* SPDX-License-Identifier: MIT */
/*
 * http.h - just enough HTTP/1.1 for a server with one answer.
 *
 * The zokio server and the hand-written loops use this same code, so that what
 * differs between them is the waiting. It reads the request line and every
 * header line; it is not a parser for the open network.
 */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#define HTTP_RESPONSE                                                          \
    "HTTP/1.1 200 OK\r\n"                                                      \
    "Content-Type: text/plain\r\n"                                             \
    "Content-Length: 13\r\n"                                                   \
    "\r\n"                                                                     \
    "Hello, World!"

enum {
    HTTP_RESPONSE_LEN = sizeof HTTP_RESPONSE - 1,
    HTTP_IN = 4096, /* the longest request head */
    /* Answers to as many of the shortest requests as fit in HTTP_IN. */
    HTTP_OUT = (HTTP_IN / 18 + 1) * HTTP_RESPONSE_LEN,
};

static inline bool http_line_is(const char *line, size_t len, const char *text)
{
    return len == strlen(text) && strncasecmp(line, text, len) == 0;
}

/*
 * The length of the request head at `in`, 0 if its end is not there yet, -1 if
 * it is not a GET. `*last` is set if the client asks to close.
 */
static inline ssize_t http_request(const char *in, size_t len, bool *last)
{
    const char *line = in, *end = in + len, *eol;

    eol = memchr(line, '\n', len);
    if (eol == NULL)
        return 0;
    if (eol - line < 15 || memcmp(line, "GET ", 4) != 0 ||
        memcmp(eol - 9, "HTTP/1.1\r", 9) != 0)
        return -1;
    for (line = eol + 1; line < end; line = eol + 1) {
        size_t n;

        eol = memchr(line, '\n', (size_t)(end - line));
        if (eol == NULL)
            return 0;
        n = (size_t)(eol - line);
        if (n == 0 || line[n - 1] != '\r')
            return -1;
        if (n == 1)
            return eol + 1 - in;
        if (http_line_is(line, n - 1, "Connection: close"))
            *last = true;
    }
    return 0;
}

/*
 * Answer every whole request in `in`. Returns how many bytes were put in `out`
 * (HTTP_OUT of room), -1 for a bad request or one longer than HTTP_IN; `*used`
 * is how much of `in` was consumed.
 */
static inline ssize_t http_answer(const char *in, size_t len, size_t *used,
                                  char *out, bool *last)
{
    size_t at = 0, made = 0;

    while (at < len && !*last) {
        ssize_t n = http_request(in + at, len - at, last);

        if (n < 0)
            return -1;
        if (n == 0)
            break;
        memcpy(out + made, HTTP_RESPONSE, HTTP_RESPONSE_LEN);
        made += HTTP_RESPONSE_LEN;
        at += (size_t)n;
    }
    *used = at;
    return at == 0 && len == HTTP_IN ? -1 : (ssize_t)made;
}

#endif
