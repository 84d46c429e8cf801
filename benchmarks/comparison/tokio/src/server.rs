// SPDX-License-Identifier: MIT

use crate::Options;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).await.expect("bind")
}

async fn next(listener: &TcpListener) -> Option<TcpStream> {
    let (stream, _) = listener.accept().await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

async fn echo_serve(mut stream: TcpStream) {
    let mut buf = vec![0; 4096];
    while let Ok(n) = stream.read(&mut buf).await {
        if n == 0 || stream.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}

/// A task for each connection.
pub fn echo(o: &Options) {
    o.runtime().block_on(async {
        let listener = listen(o.port).await;
        loop {
            if let Some(stream) = next(&listener).await {
                tokio::spawn(echo_serve(stream));
            }
        }
    })
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello, World!")));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

async fn http_serve(stream: TcpStream) {
    // An error here is the client going away.
    let _ = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service_fn(hello))
        .await;
}

/// hyper, without the Date header that the others do not send.
pub fn http(o: &Options) {
    o.runtime().block_on(async {
        let listener = listen(o.port).await;
        loop {
            if let Some(stream) = next(&listener).await {
                tokio::spawn(http_serve(stream));
            }
        }
    })
}
