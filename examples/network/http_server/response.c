/* SPDX-License-Identifier: MIT */
/*
 * response.c - answers as bytes: one page, and errors that are all header.
 */
#include "http_server.h"

#include <stdio.h>
#include <string.h>

#define PAGE "Hello, World!"
#define PAGE_HEADER "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n"

_Static_assert(sizeof(PAGE) - 1 == 13, "Content-Length of the page");

static void output_add(struct output *out, const char *text)
{
    size_t len = strlen(text);

    memcpy(out->data + out->len, text, len);
    out->len += len;
}

/* The text of the date is made once a second. */
static const char *output_date(struct output *out)
{
    time_t now = time(NULL);
    struct tm tm;

    if (now != out->second && gmtime_r(&now, &tm) &&
        strftime(out->date, sizeof(out->date),
                 "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm))
        out->second = now;
    return out->date;
}

void response_append(struct request *r, enum http_status status)
{
    struct output *out = r->out;
    char line[64] = "HTTP/1.1 200 OK\r\n";

    if (status != HTTP_STATUS_OK)
        snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", (int)status,
                 http_status_str(status));
    output_add(out, line);
    if (status == HTTP_STATUS_CONTINUE) {
        output_add(out, "\r\n");
        return;
    }
    output_add(out, output_date(out));
    if (r->last)
        output_add(out, "Connection: close\r\n");
    else if (r->parser.http_minor == 0)
        output_add(out, "Connection: keep-alive\r\n"); /* 1.0 must be told */
    if (status == HTTP_STATUS_METHOD_NOT_ALLOWED)
        output_add(out, "Allow: GET, HEAD\r\n");
    if (status != HTTP_STATUS_OK)
        output_add(out, "Content-Length: 0\r\n\r\n");
    else if (r->parser.method == HTTP_HEAD)
        output_add(out, PAGE_HEADER);
    else
        output_add(out, PAGE_HEADER PAGE);
}
