/* SPDX-License-Identifier: MIT */
/*
 * server.c - echo and http over libuv. uv_try_write() first, a queued write
 * only for what the socket did not take: libuv's shortest way.
 */
#include <uv.h>

#include "comparison/common.h"

struct peer {
    uv_tcp_t tcp;
    uv_write_t write;
    struct conn *conn; /* fd -1: libuv owns the descriptor */
};

static void on_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;

    free(peer->conn->rest);
    free(peer->conn);
    free(peer);
}

static void peer_close(struct peer *peer)
{
    if (!uv_is_closing((uv_handle_t *)&peer->tcp))
        uv_close((uv_handle_t *)&peer->tcp, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct conn *c = ((struct peer *)handle->data)->conn;

    (void)hint;
    buf->base = c->in + c->in_len;
    buf->len = HTTP_IN - c->in_len;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *write, int status)
{
    struct peer *peer = write->data;

    free(peer->conn->rest);
    peer->conn->rest = NULL;
    if (status < 0 || peer->conn->last ||
        uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read) < 0)
        peer_close(peer);
}

/* False: gone. */
static bool peer_send(struct peer *peer, const char *data, size_t len)
{
    struct conn *c = peer->conn;
    uv_stream_t *stream = (uv_stream_t *)&peer->tcp;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)len);
    int sent = len > 0 ? uv_try_write(stream, &buf, 1) : 0;

    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0)
        return false;
    if ((size_t)sent == len)
        return !c->last;
    if (!conn_keep(c, data + sent, len - (size_t)sent))
        return false;
    uv_read_stop(stream);
    buf = uv_buf_init(c->rest, (unsigned)c->rest_len);
    peer->write.data = peer;
    return uv_write(&peer->write, stream, &buf, 1, on_written) == 0;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;
    const char *data;
    size_t len;

    (void)buf;
    if (n == 0)
        return;
    if (n > 0)
        peer->conn->in_len += (size_t)n;
    if (n < 0 || !conn_answer(peer->conn, &data, &len) ||
        !peer_send(peer, data, len))
        peer_close(peer);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct peer *peer = malloc(sizeof *peer);

    if (status < 0 || peer == NULL) {
        free(peer);
        return;
    }
    peer->conn = conn_make(-1);
    if (peer->conn == NULL) {
        free(peer);
        return;
    }
    uv_tcp_init(listener->loop, &peer->tcp);
    peer->tcp.data = peer;
    if (uv_accept(listener, (uv_stream_t *)&peer->tcp) < 0 ||
        uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read) < 0) {
        peer_close(peer);
        return;
    }
    uv_tcp_nodelay(&peer->tcp, 1);
}

int main(int argc, char **argv)
{
    struct bench_options options;
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    int fd;

    if (bench_options_parse(&options, "libuv", argc, argv) < 0 ||
        !serve_choose(options.workload))
        return 2;
    fd = bench_listen(options.port);
    if (fd < 0 || uv_tcp_init(loop, &listener) < 0 ||
        uv_tcp_open(&listener, fd) < 0 ||
        uv_listen((uv_stream_t *)&listener, SOMAXCONN, on_connection) < 0)
        return 1;
    return uv_run(loop, UV_RUN_DEFAULT);
}
