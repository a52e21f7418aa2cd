//! What clients do: requests one by one, a steady stream of them, downloads.

use std::collections::BTreeMap;
use std::process::Child;
use std::process::Stdio;

use crate::lab::Lab;
use crate::lab::print_of;

/// Which server answered how often, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) by_server: BTreeMap<String, usize>,
    pub(crate) errors: Vec<String>,
}

impl Answers {
    /// Adds what curl or a datagram client printed, a line for each answer.
    fn of(out: &str, err: &str) -> Self {
        let mut answers = Self::default();
        for line in out.lines() {
            let server = line.split(' ').next().unwrap_or_default();
            *answers.by_server.entry(server.to_owned()).or_default() += 1;
        }
        answers.errors = err.lines().map(str::to_owned).collect();
        answers
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.by_server.values().sum()
    }

    /// Fails the test unless all of `wanted` were answered, without an error.
    pub(crate) fn assert_complete(&self, wanted: usize) {
        assert!(self.errors.is_empty() && self.count() == wanted, "{wanted} were sent: {self:?}");
    }
}

/// Sends `count` requests, one after the other, a connection each.
pub(crate) fn requests(lab: &Lab, url: &str, count: usize) -> Answers {
    let urls = format!("{url}[1-{count}]");
    let line = ["curl", "-sS", "--fail", "-m", "5", "-H", "Connection: close", &urls];
    let done = lab.on("client", &line);
    Answers::of(&done.out, &done.err)
}

/// Sends `count` datagrams, from a port each.
pub(crate) fn datagrams(lab: &Lab, address: &str, port: u16, count: usize) -> Answers {
    Answers::of(&lab.datagrams(address, port, count).join("\n"), "")
}

/// Requests that go on until told to stop: a client that opens connection after connection, in four processes.
pub(crate) struct Stream {
    clients: Vec<Child>,
}

impl Stream {
    /// Starts sending to `urls`, in turn.
    pub(crate) fn start(lab: &Lab, urls: &[&str]) -> Self {
        let start = |url: &&str| {
            let mut command = lab.command("client", &["python3", "-c", STREAM, url]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        Self { clients: urls.iter().map(start).collect() }
    }

    /// Stops, and says how it went.
    pub(crate) fn stop(mut self) -> Answers {
        let mut all = Answers::default();
        for mut client in self.clients.drain(..) {
            drop(client.stdin.take());
            let done = print_of(client.wait_with_output().unwrap());
            let answers = Answers::of(&done.out, &done.err);
            for (server, count) in answers.by_server {
                *all.by_server.entry(server).or_default() += count;
            }
            all.errors.extend(answers.errors);
        }
        all
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for client in &mut self.clients {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

/// SHA-256 of what `url` gives, as the client sees it.
pub(crate) fn digest_of_download(lab: &Lab, url: &str) -> String {
    let line = format!("curl -sS --fail -m 60 '{url}' | sha256sum");
    first_word(&lab.must("client", &["bash", "-o", "pipefail", "-c", &line]))
}

/// Sends the servers' file to `url` + `name`; the server that took it.
pub(crate) fn upload(lab: &Lab, url: &str, name: &str) -> String {
    let (file, to) = (lab.file(), format!("{url}upload/{name}"));
    let line = [
        "curl",
        "-sS",
        "--fail",
        "-m",
        "60",
        "-D",
        "-",
        "-o",
        "/dev/null",
        "-T",
        file.to_str().unwrap(),
        &to,
    ];
    let head = lab.must("client", &line);
    let server = head.lines().find_map(|line| line.strip_prefix("X-Backend: "));
    server.unwrap_or_else(|| panic!("no server in {head:?}")).trim().to_owned()
}

/// SHA-256 of what a server took as `name`.
pub(crate) fn digest_of_upload(lab: &Lab, server: &str, name: &str) -> String {
    first_word(&lab.must("client", &["sha256sum", lab.uploaded(server, name).to_str().unwrap()]))
}

/// SHA-256 of the servers' file.
pub(crate) fn digest_of_file(lab: &Lab) -> String {
    first_word(&lab.must("client", &["sha256sum", lab.file().to_str().unwrap()]))
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Half of the requests open a connection, half use it again. Ends when its standard input does.
const STREAM: &str = r#"
import http.client, select, sys, time, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
def running(): return not select.select([sys.stdin], [], [], 0)[0]
while running():
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=5)
    try:
        for _ in range(2):
            connection.request("GET", url.path)
            answer = connection.getresponse()
            body = answer.read().decode()
            if answer.status != 200: raise OSError(f"status {answer.status}")
            print(body, end="")
    except Exception as error:
        print(f"{time.time():.3f} {error!r}", file=sys.stderr)
    finally:
        connection.close()
"#;
