//! HTTP connections with bounds: their number, the time for a request's head, and the pace of a reader.
//!
//! When all places are taken, health checks are still answered: a few more connections are served, each for a moment,
//! and the oldest of these gives way.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Sleep;
use tokio::time::sleep;
use tokio::time::timeout;

/// Connections at a time for all requests.
const CONNECTIONS: usize = 64;

/// Connections beyond these, for health checks alone.
const RESERVED: usize = 16;

/// Time for the head of a request, from the connection's begin or the last answer.
const HEAD: Duration = Duration::from_secs(5);

/// A client that takes nothing of its answer for this long is dropped.
const STALL: Duration = Duration::from_secs(10);

/// After this a connection is closed in any case: a scrape takes far less.
const LIFETIME: Duration = Duration::from_secs(120);

/// Serves every connection of `listener`, for ever: by `router`, or by `reserve` if there are too many.
pub(super) async fn serve(listener: TcpListener, router: Router, reserve: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut reserved: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No file descriptor is free: it gets no better by trying at once.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let router = router.clone();
            tokio::spawn(async move {
                converse(stream, router, LIFETIME).await;
                drop(place);
            });
            continue;
        }
        if reserved.len() >= RESERVED
            && let Some(oldest) = reserved.pop_front()
        {
            oldest.abort();
        }
        reserved.push_back(tokio::spawn(converse(stream, reserve.clone(), HEAD)).abort_handle());
    }
}

async fn converse(stream: TcpStream, router: Router, lifetime: Duration) {
    let stream = TokioIo::new(PacedStream { stream, stalled: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(stream, TowerToHyperService::new(router));
    // A client that went away or broke the rules needs no answer.
    let _ended = timeout(lifetime, connection).await;
}

/// A connection that ends if its client stops reading.
#[derive(Debug)]
struct PacedStream {
    stream: TcpStream,
    /// While nothing can be written: ends with the patience.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for PacedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
