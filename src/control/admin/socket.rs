//! The control socket: one request a line, one reply a line.
//!
//! What a client can cost is bounded: the number of clients, the length of a request, and the time it may take over
//! sending one or taking its reply.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Call;
use super::Handle;
use super::answers::Answer;
use super::protocol::Fault;
use super::protocol::FaultKind;
use super::protocol::LARGEST_REQUEST;
use super::protocol::Reply;
use super::protocol::Request;

/// Clients at a time; one more is told so.
const CLIENTS: usize = 32;

/// Time between two requests of a client, and for its reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time from the first octet of a request to its last.
const REQUEST: Duration = Duration::from_secs(5);

/// Serves every client of `listener`, for ever.
pub async fn serve(listener: UnixListener, handle: Handle) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No file descriptor is free: it gets no better by trying at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let handle = handle.clone();
        tokio::spawn(async move {
            // A client that went away needs no answer.
            let _ended = match place {
                Ok(_place) => converse(stream, handle).await,
                Err(_) => refuse(stream).await,
            };
        });
    }
}

async fn converse(stream: UnixStream, handle: Handle) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut stream).take(LARGEST_REQUEST as u64 + 1);
        timeout(PATIENCE, bounded.fill_buf()).await??;
        let read = timeout(REQUEST, bounded.read_until(b'\n', &mut line)).await??;
        if read == 0 {
            return Ok(());
        }
        if read > LARGEST_REQUEST {
            let message = format!("a request is at most {LARGEST_REQUEST} octets long");
            return send(&mut stream, &Err::<(), _>(Fault { kind: FaultKind::TooLarge, message })).await;
        }
        answer(&mut stream, &line, &handle).await?;
    }
}

async fn answer(stream: &mut BufReader<UnixStream>, line: &[u8], handle: &Handle) -> io::Result<()> {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            let message = format!("not a request: {error}");
            return send(stream, &Err::<(), _>(Fault { kind: FaultKind::Malformed, message })).await;
        }
    };
    match request {
        Request::Status {} => send(stream, &handle.ask(Call::Status).await).await,
        Request::Services {} => stream_out(stream, handle.services().await).await,
        Request::Backends { service } => stream_out(stream, handle.backends(service).await).await,
        Request::Backend(order) => {
            let answer = handle.ask(|reply| Call::Backend(order, reply)).await;
            send(stream, &answer.flatten()).await
        }
        Request::Flows(query) => stream_out(stream, handle.flows(query).await).await,
        Request::Counters {} => send(stream, &handle.ask(Call::Counters).await).await,
        Request::Reload { dry_run } => {
            let answer = handle.ask(|reply| Call::Reload { dry_run, reply }).await;
            send(stream, &answer.flatten()).await
        }
    }
}

async fn refuse(stream: UnixStream) -> io::Result<()> {
    let message = format!("{CLIENTS} clients are connected; try again");
    send(&mut BufReader::new(stream), &Err::<(), _>(Fault { kind: FaultKind::Busy, message })).await
}

/// Sends a large answer, piece by piece.
async fn stream_out(stream: &mut BufReader<UnixStream>, answer: Result<Answer, Fault>) -> io::Result<()> {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(fault) => return send(stream, &Err::<(), _>(fault)).await,
    };
    let sent = async {
        stream.write_all(REPLY_BEGIN).await?;
        while let Some(piece) = answer.next_piece() {
            stream.write_all(&piece?).await?;
        }
        stream.write_all(REPLY_END).await
    };
    timeout(PATIENCE, sent).await?
}

/// Around the JSON of an answer: [`Reply::Result`].
const REPLY_BEGIN: &[u8] = b"{\"result\":";
const REPLY_END: &[u8] = b"}\n";

async fn send<T: Serialize>(stream: &mut BufReader<UnixStream>, answer: &Result<T, Fault>) -> io::Result<()> {
    let mut line = match answer {
        Ok(result) => serde_json::to_vec(&Reply::Result(result))?,
        Err(fault) => serde_json::to_vec(&Reply::<()>::Error(fault.clone()))?,
    };
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await?
}
