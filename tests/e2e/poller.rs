//! A client that begins short requests at a steady pace, each on a connection of its own, and writes down when each
//! began, when it ended and who answered.
//!
//! The pace does not depend on the answers, so that a gap in them is as long as the trouble was. All times are the
//! client's.

use std::collections::BTreeSet;
use std::fmt;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lab::Lab;
use crate::lab::print_of;
use crate::wait::wait_until;

/// A running client.
pub(crate) struct Poller {
    client: Option<Child>,
    requests: Arc<Mutex<Vec<Request>>>,
    moments: mpsc::Receiver<Moment>,
    reader: Option<JoinHandle<()>>,
    /// How many URLs there are.
    urls: usize,
    /// When requests may fail.
    windows: Vec<Window>,
}

/// A request that has ended.
#[derive(Clone, Debug)]
struct Request {
    url: usize,
    /// On the client's clock, as is `ended`.
    began: Duration,
    ended: Duration,
    /// Which server answered, or what went wrong.
    answer: Result<String, String>,
}

/// A moment of a poller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// On the client's clock.
    time: Duration,
    /// How many requests had ended.
    ended: usize,
}

/// Requests to `url` that ended after the first `after`, and had begun by `until`.
#[derive(Clone, Copy)]
struct Window {
    url: usize,
    after: usize,
    until: Duration,
}

/// How long a move from one server to another took for each URL.
pub(crate) struct Gaps(Vec<Duration>);

impl Poller {
    /// Starts polling each of `urls`, and waits for the first answers.
    pub(crate) fn start(lab: &Lab, urls: &[&str]) -> Self {
        let mut command = lab.command("client", &[&["python3", "-c", POLLER, PERIOD], urls].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let kept = Arc::clone(&requests);
        let (moments, told) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                match line.strip_prefix("now ") {
                    Some(time) => {
                        let moment = Moment { time: time_of(time), ended: lock(&kept).len() };
                        moments.send(moment).unwrap();
                    }
                    None => lock(&kept).push(Request::read(&line)),
                }
            }
        });
        let poller = Self {
            client: Some(client),
            requests,
            moments: told,
            reader: Some(reader),
            urls: urls.len(),
            windows: Vec::new(),
        };
        wait_until(
            "every URL is answered",
            Duration::from_secs(10),
            || poller.servers_since(Moment::BEGINNING).iter().all(|servers| !servers.is_empty()),
            || format!("{:?}", poller.tail()),
        );
        poller
    }

    /// Now.
    pub(crate) fn now(&mut self) -> Moment {
        let client = self.client.as_mut().unwrap();
        writeln!(client.stdin.as_mut().unwrap(), "now").unwrap();
        self.moments.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// How long ago a moment was.
    pub(crate) fn since(&mut self, moment: Moment) -> Duration {
        self.now().time - moment.time
    }

    /// Waits until `server` has answered a request to every URL that began after `moment`. From the last answer of any
    /// other until then, for each URL. Requests that were under way at `moment` or began between it and the answer are
    /// allowed to fail if `may_fail`.
    pub(crate) fn wait_server(&mut self, server: &str, moment: Moment, may_fail: bool) -> Gaps {
        let first = |requests: &[Request], url| {
            let is_it = |request: &&Request| {
                request.url == url
                    && request.began > moment.time
                    && request.answer.as_ref().is_ok_and(|is| is == server)
            };
            requests.iter().filter(is_it).map(|request| request.ended).min()
        };
        wait_until(
            &format!("{server} answers"),
            Duration::from_secs(10),
            || (0..self.urls).all(|url| first(&self.requests(), url).is_some()),
            || format!("{:?}", self.tail()),
        );
        let requests = self.requests().clone();
        let gaps = (0..self.urls).map(|url| {
            let arrived = first(&requests, url).unwrap();
            let left = |request: &&Request| {
                request.url == url
                    && request.ended <= arrived
                    && request.answer.as_ref().is_ok_and(|is| is != server)
            };
            if may_fail {
                self.windows.push(Window { url, after: moment.ended, until: arrived });
            }
            arrived - requests.iter().filter(left).map(|request| request.ended).max().unwrap_or_default()
        });
        Gaps(gaps.collect())
    }

    /// Which servers have answered requests that began after `moment`, for each URL.
    pub(crate) fn servers_since(&self, moment: Moment) -> Vec<BTreeSet<String>> {
        let mut servers = vec![BTreeSet::new(); self.urls];
        for request in self.requests().iter().filter(|request| request.began > moment.time) {
            if let Ok(server) = &request.answer {
                servers[request.url].insert(server.clone());
            }
        }
        servers
    }

    /// Waits until `count` requests to each URL that began after `moment` have ended.
    pub(crate) fn wait_requests(&self, moment: Moment, count: usize) {
        let of = |url| {
            let begun = |request: &&Request| request.url == url && request.began > moment.time;
            self.requests().iter().filter(begun).count()
        };
        let there = || (0..self.urls).all(|url| of(url) >= count);
        wait_until("requests go on", Duration::from_secs(10), there, || format!("{:?}", self.tail()));
    }

    /// Stops, once all that was asked is answered or given up. Fails the test if a request failed, or lost a packet on its
    /// way, when none was allowed to. How many were asked, and how many of them failed.
    pub(crate) fn stop(mut self) -> (usize, usize) {
        let mut client = self.client.take().unwrap();
        drop(client.stdin.take());
        self.reader.take().unwrap().join().unwrap();
        let done = print_of(client.wait_with_output().unwrap());
        assert!(done.success, "{}", done.err);
        let requests = self.requests();
        let is_allowed = |position: usize, request: &Request| {
            let includes = |window: &Window| {
                window.url == request.url && position >= window.after && request.began <= window.until
            };
            self.windows.iter().any(includes)
        };
        let suffered =
            |request: &Request| request.answer.is_err() || request.ended - request.began >= REPEATED;
        let numbered = requests.iter().enumerate();
        let wrong: Vec<_> = numbered
            .filter(|(position, request)| suffered(request) && !is_allowed(*position, request))
            .collect();
        assert!(wrong.is_empty(), "{} of {} requests: {wrong:?}", wrong.len(), requests.len());
        (requests.len(), requests.iter().filter(|request| request.answer.is_err()).count())
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        lock(&self.requests)
    }

    /// The latest requests, to be shown beside a failure.
    fn tail(&self) -> Vec<Request> {
        let requests = self.requests();
        requests[requests.len().saturating_sub(40)..].to_vec()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

impl Moment {
    const BEGINNING: Self = Self { time: Duration::ZERO, ended: 0 };
}

impl Request {
    /// A line of [`POLLER`].
    fn read(line: &str) -> Self {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap();
        let url = word().parse().unwrap();
        let [began, ended] = [word(), word()].map(time_of);
        let is_answer = word() == "ok";
        let text = word().to_owned();
        Self { url, began, ended, answer: if is_answer { Ok(text) } else { Err(text) } }
    }
}

impl Gaps {
    /// The longest.
    pub(crate) fn longest(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.0.iter().map(|gap| format!("{} ms", gap.as_millis())).collect();
        f.write_str(&shown.join(", "))
    }
}

fn time_of(micros: &str) -> Duration {
    Duration::from_micros(micros.parse().unwrap())
}

/// Whoever holds the lock does not panic.
fn lock(requests: &Mutex<Vec<Request>>) -> MutexGuard<'_, Vec<Request>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between two requests to a URL, in seconds.
const PERIOD: &str = "0.02";

/// A SYN that is not answered is sent again after a second (RFC 6298, section 2).
const REPEATED: Duration = Duration::from_secs(1);

/// Prints a line for each request: position of the URL, began, ended (microseconds), "ok SERVER" or "error WHAT". A
/// request is given up after two seconds: one whose SYN was lost has sent it again by then. For each line of its standard
/// input, "now" and the time. Ends when its standard input does.
const POLLER: &str = r#"
import asyncio, os, sys, time, urllib.parse
period = float(sys.argv[1])
urls = [urllib.parse.urlsplit(url) for url in sys.argv[2:]]
def now(): return time.monotonic_ns() // 1000
def tell(*words): os.write(1, (" ".join(map(str, words)) + "\n").encode())
def listen():
    for _ in sys.stdin: tell("now", now())
async def ask(url):
    reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
    try:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        if head.split(b" ")[1:2] != [b"200"] or not body: raise OSError(f"answered {head!r}")
        return body.decode().strip()
    finally:
        writer.close()
async def request(number, url):
    began = now()
    try: answer = "ok " + await asyncio.wait_for(ask(url), 2)
    except Exception as error: answer = f"error {error!r}"
    tell(number, began, now(), answer)
async def main():
    over = asyncio.get_running_loop().run_in_executor(None, listen)
    requests, due = set(), time.monotonic()
    while not over.done():
        for number, url in enumerate(urls):
            task = asyncio.create_task(request(number, url))
            requests.add(task)
            task.add_done_callback(requests.discard)
        due = max(due + period, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
    await asyncio.gather(*requests)
asyncio.run(main())
"#;
