/* SPDX-License-Identifier: MIT */
/*
 * request.c - from bytes to answers, by the callbacks of http_parser.
 *
 * A callback runs on frames of the parser, so it never waits: it writes into
 * memory, and pauses the parser when connection.c must act first.
 */
#include "http_server.h"

#include <string.h>
#include <strings.h>

static void text_add(struct text *t, const char *at, size_t len)
{
    size_t room = sizeof(t->data) - t->len;

    if (len > room)
        len = room;
    memcpy(t->data + t->len, at, len);
    t->len += len;
}

/* Every `word` is shorter than TEXT_LIMIT, so a cut text is never equal. */
static bool text_is(const struct text *t, const char *word)
{
    return t->len == strlen(word) && strncasecmp(t->data, word, t->len) == 0;
}

static int on_begin(http_parser *parser)
{
    struct request *r = parser->data;

    r->receiving = r->progress = true;
    r->expects = r->awaits_go = r->in_value = false;
    r->target.len = r->name.len = r->value.len = 0;
    r->hosts = 0;
    return 0;
}

static int on_target(http_parser *parser, const char *at, size_t len)
{
    struct request *r = parser->data;

    text_add(&r->target, at, len);
    return 0;
}

/* The header in hand is complete. */
static void header_end(struct request *r)
{
    if (text_is(&r->name, "host"))
        r->hosts++;
    else if (text_is(&r->name, "expect"))
        r->expects = text_is(&r->value, "100-continue");
    r->name.len = r->value.len = 0;
    r->in_value = false;
}

static int on_name(http_parser *parser, const char *at, size_t len)
{
    struct request *r = parser->data;

    if (r->in_value)
        header_end(r);
    text_add(&r->name, at, len);
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct request *r = parser->data;

    r->in_value = true;
    text_add(&r->value, at, len);
    return 0;
}

static int on_headers(http_parser *parser)
{
    struct request *r = parser->data;

    if (r->in_value)
        header_end(r);
    /* HTTP/1.0 knows no 100. */
    r->awaits_go = r->expects && parser->http_minor > 0;
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct request *r = parser->data;

    (void)at;
    (void)len; /* nobody wants it */
    r->progress = true;
    r->awaits_go = false; /* it did not wait */
    return 0;
}

static enum http_status request_status(const struct request *r)
{
    const http_parser *parser = &r->parser;
    const struct text *target = &r->target;

    if (parser->http_major != 1)
        return HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED;
    if (r->hosts > 1 || (r->hosts == 0 && parser->http_minor > 0))
        return HTTP_STATUS_BAD_REQUEST;
    if (target->data[0] != '/' || (target->len > 1 && target->data[1] != '?'))
        return HTTP_STATUS_NOT_FOUND;
    if (parser->method != HTTP_GET && parser->method != HTTP_HEAD)
        return HTTP_STATUS_METHOD_NOT_ALLOWED;
    return HTTP_STATUS_OK;
}

static int on_complete(http_parser *parser)
{
    struct request *r = parser->data;

    /* After a CONNECT no HTTP follows; a shutdown takes no more requests. */
    r->last = !http_should_keep_alive(parser) || zk_cancelled() ||
              parser->method == HTTP_CONNECT;
    r->receiving = r->awaits_go = false;
    r->progress = true;
    response_append(r, request_status(r));
    if (r->last || sizeof(r->out->data) - r->out->len < 2 * RESPONSE_MAX)
        http_parser_pause(parser, 1);
    return 0;
}

void request_init(struct request *r, struct output *out)
{
    http_parser_init(&r->parser, HTTP_REQUEST);
    r->parser.data = r;
    r->out = out;
    r->receiving = r->awaits_go = r->progress = r->last = false;
}

size_t request_parse(struct request *r, const char *data, size_t len)
{
    static const http_parser_settings settings = {
        .on_message_begin = on_begin,
        .on_url = on_target,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_headers,
        .on_body = on_body,
        .on_message_complete = on_complete,
    };
    size_t taken = http_parser_execute(&r->parser, &settings, data, len);
    enum http_errno error = HTTP_PARSER_ERRNO(&r->parser);

    if (error == HPE_PAUSED) {
        http_parser_pause(&r->parser, 0);
    } else if (error != HPE_OK) {
        r->last = true;
        response_append(r, error == HPE_HEADER_OVERFLOW
                               ? HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE
                               : HTTP_STATUS_BAD_REQUEST);
    } else if (r->awaits_go) {
        response_append(r, HTTP_STATUS_CONTINUE);
        r->awaits_go = false;
    }
    return taken;
}
