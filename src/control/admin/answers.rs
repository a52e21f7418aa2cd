//! Rendered answers: made on a thread of their own, shared by all who ask at the same time, sent in pieces.
//!
//! A large configuration has answers of tens of megabytes. An [`Archive`] keeps the latest [`KEPT`] of a kind, for
//! [`LIFETIME`]; a reader holds none of them and copies a piece at a time. A reader that is so slow that its answer is
//! no longer kept is cut off, so that the number of readers does not show in the memory.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Weak;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use futures::Stream;
use hyper::body::Bytes;
use tokio::sync::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::protocol::Fault;

/// Answers of a kind that are kept.
const KEPT: usize = 3;

/// Time for which an answer is kept.
const LIFETIME: Duration = Duration::from_secs(30);

/// Octets of a piece.
const PIECE: usize = 64 * 1024;

/// The latest answers of one kind, oldest first.
#[derive(Debug, Default)]
pub(super) struct Archive {
    latest: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    begun: Instant,
    text: Arc<Vec<u8>>,
}

/// An answer on its way to a reader.
#[derive(Debug)]
pub(super) struct Answer {
    text: Text,
    sent: usize,
    length: usize,
}

#[derive(Debug)]
enum Text {
    Shared(Weak<Vec<u8>>),
    Own {
        text: Vec<u8>,
        /// One of the places for large answers that nobody shares.
        _place: Option<OwnedSemaphorePermit>,
    },
}

impl Archive {
    /// An answer that was begun after this call: one that `render` makes, or that of another reader.
    ///
    /// # Errors
    ///
    /// Those of `render`.
    pub(super) async fn get<F>(self: &Arc<Self>, render: impl FnOnce() -> F) -> Result<Answer, Fault>
    where
        F: Future<Output = Result<Vec<u8>, Fault>>,
    {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some(newest) = latest.back()
            && newest.begun > asked
        {
            return Ok(Answer::shared(&newest.text));
        }
        let begun = Instant::now();
        let text = Arc::new(render().await?);
        let answer = Answer::shared(&text);
        latest.push_back(Kept { begun, text });
        if latest.len() > KEPT {
            latest.pop_front();
        }
        let this = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(LIFETIME).await;
            if let Some(this) = this.upgrade() {
                this.latest.lock().await.retain(|kept| kept.begun > begun);
            }
        });
        Ok(answer)
    }
}

impl Answer {
    fn shared(text: &Arc<Vec<u8>>) -> Self {
        Self { length: text.len(), text: Text::Shared(Arc::downgrade(text)), sent: 0 }
    }

    /// An answer that nobody shares; a large one has a `place`.
    pub(super) const fn own(text: Vec<u8>, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { length: text.len(), text: Text::Own { text, _place: place }, sent: 0 }
    }

    /// All octets, sent or not.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// The next piece; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The answer is no longer kept.
    pub(super) fn next_piece(&mut self) -> Option<io::Result<Bytes>> {
        if self.sent >= self.length {
            return None;
        }
        let end = self.length.min(self.sent + PIECE);
        let piece = match &self.text {
            Text::Shared(text) => text.upgrade().map(|text| Bytes::copy_from_slice(&text[self.sent..end])),
            Text::Own { text, .. } => Some(Bytes::copy_from_slice(&text[self.sent..end])),
        };
        self.sent = end;
        Some(piece.ok_or_else(|| io::ErrorKind::TimedOut.into()))
    }
}

impl Stream for Answer {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(self.next_piece())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rendered(octets: usize) -> Result<Vec<u8>, Fault> {
        tokio::task::yield_now().await;
        Ok(vec![b'x'; octets])
    }

    #[tokio::test]
    async fn requests_of_the_same_time_share_answers_and_no_reader_keeps_one() {
        let archive = Arc::new(Archive::default());
        let renderings = std::cell::Cell::new(0);
        let ask = || {
            archive.get(|| {
                renderings.set(renderings.get() + 1);
                rendered(PIECE + 1)
            })
        };
        let mut readers = futures::future::join_all((0..64).map(|_| ask())).await;
        assert!(renderings.get() <= 2, "{} for 64 requests", renderings.get());
        let first = readers[0].as_mut().unwrap();
        assert_eq!(first.next_piece().unwrap().unwrap().len(), PIECE);

        for _ in 0..KEPT {
            ask().await.unwrap();
        }
        assert_eq!(archive.latest.lock().await.len(), KEPT);
        assert!(first.next_piece().unwrap().is_err(), "a slow reader is cut off");
        assert!(first.next_piece().is_none());
    }

    #[tokio::test]
    async fn an_answer_is_never_older_than_its_request() {
        let archive = Arc::new(Archive::default());
        for octets in 1..4 {
            let answer = archive.get(|| rendered(octets)).await.unwrap();
            assert_eq!(answer.length(), octets);
        }
    }
}
