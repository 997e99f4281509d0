//! The yardstick: hyper on tokio, which reads the body and answers a fixed number of octets, told by the path.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use crate::Failure;

/// The longest answer that may be asked for.
const ANSWER_OCTETS_MAX: usize = 4 << 20;

/// As the server's own, so that 1,024 connections at once are no test of the kernel's queue.
const BACKLOG: i32 = 4096;

/// Serves until the process is ended.
pub(crate) fn serve(port: u16) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(accept(port))
}

async fn accept(port: u16) -> Result<(), Failure> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into())?;
    let answer = Bytes::from(vec![b'x'; ANSWER_OCTETS_MAX]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, answer.clone()));
            let mut builder = hyper::server::conn::http1::Builder::new();
            // A peer that goes away is no error of the yardstick: the load counts what it does not get.
            let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(request: Request<Incoming>, answer: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let size = request.uri().path().trim_start_matches('/').parse::<usize>().unwrap_or(0).min(answer.len());
    let read = request.into_body().collect().await.is_ok();
    let mut response = Response::new(Full::new(answer.slice(..size)));
    if !read {
        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
    }
    let content_type = hyper::header::HeaderValue::from_static("application/soap+xml;charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}
