//! Blocking work beside the loop of control: reading files, rendering answers.
//!
//! Each piece of work has a thread of its own, which ends with it. A [`Bench`] bounds the number of these threads and
//! the time that the loop's side waits. A thread that the system holds up, as by a FIFO or a lost NFS server, keeps its
//! place and nothing else; the end of the process does not wait for it.

use std::io;
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Places for one kind of work.
#[derive(Debug)]
pub(super) struct Bench {
    name: &'static str,
    places: Semaphore,
    within: Duration,
}

/// The configuration file and the files that it names.
pub(super) static CONFIGURATION: Bench = Bench::new("load", 1, Duration::from_secs(10));

/// Files of certificate authorities. Shorter than the timeouts of probes, so that a file that hangs is no failure of a
/// backend.
pub(super) static CERTIFICATES: Bench = Bench::new("certificates", 4, Duration::from_millis(250));

/// Answers of the control socket and HTTP.
pub(super) static ANSWERS: Bench = Bench::new("answers", 1, Duration::from_secs(60));

impl Bench {
    const fn new(name: &'static str, places: usize, within: Duration) -> Self {
        Self { name, places: Semaphore::const_new(places), within }
    }

    /// Does `work` on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if there is no result in time; other kinds if there can be no thread.
    pub(super) async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let running = async {
            let place = self.places.acquire().await.map_err(io::Error::other)?;
            let (done, result) = oneshot::channel();
            thread::Builder::new().name(self.name.to_owned()).spawn(move || {
                let _place = place;
                // An asker that has given up needs no result.
                let _gone = done.send(work());
            })?;
            result.await.map_err(io::Error::other)
        };
        timeout(self.within, running).await.unwrap_or_else(|_| {
            let message = format!("no result within {:?}", self.within);
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_given_up_and_its_place_comes_back_with_its_end() {
        static BENCH: Bench = Bench::new("test", 1, Duration::from_millis(50));
        let (release, held) = mpsc::channel::<()>();
        let hung = BENCH.run(move || held.recv().is_ok()).await.unwrap_err();
        assert_eq!(hung.kind(), io::ErrorKind::TimedOut);
        let waiting = BENCH.run(|| 1).await.unwrap_err();
        assert_eq!(waiting.kind(), io::ErrorKind::TimedOut, "the only place is taken");
        release.send(()).unwrap();
        while BENCH.run(|| 2).await.is_err() {}
    }
}
