//! One connection of a client's that is kept: requests are sent and answers received when a test says so.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Stdio;

use crate::lab::Lab;

/// An open connection. Closed, by the client, when dropped.
pub(crate) struct Connection {
    client: Child,
    lines: BufReader<ChildStdout>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Who answered.
    pub(crate) server: String,
    /// Length of the body.
    pub(crate) octets: usize,
    /// Its SHA-256.
    pub(crate) digest: String,
}

impl Connection {
    /// Connects to port 80 of `address`.
    pub(crate) fn open(lab: &Lab, address: &str) -> Self {
        let mut command = lab.command("client", &["python3", "-c", CLIENT, address]);
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(client.stdout.take().unwrap());
        let mut connection = Self { client, lines };
        connection.line().unwrap();
        connection
    }

    /// Connects until `server` is at the other end.
    pub(crate) fn open_to(lab: &Lab, address: &str, server: &str) -> Self {
        for _ in 0..ATTEMPTS {
            let mut connection = Self::open(lab, address);
            if connection.ask("/").unwrap().server == server {
                return connection;
            }
        }
        panic!("none of {ATTEMPTS} connections to {address} leads to {server}")
    }

    /// Sends a GET, and receives the answer.
    pub(crate) fn ask(&mut self, path: &str) -> Result<Answer, String> {
        self.send(path)?;
        self.receive()
    }

    /// Sends a GET; the error, such as `EPIPE`, if the connection is known to be gone.
    pub(crate) fn send(&mut self, path: &str) -> Result<(), String> {
        self.say(&format!("send {path}"));
        self.line().map(drop)
    }

    /// Receives an answer; the error, such as `ECONNRESET`, if none comes.
    pub(crate) fn receive(&mut self) -> Result<Answer, String> {
        self.say("receive");
        let line = self.line()?;
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap();
        Ok(Answer { server: word(), octets: word().parse().unwrap(), digest: word() })
    }

    fn say(&mut self, what: &str) {
        writeln!(self.client.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let (outcome, rest) = line.trim_end_matches('\n').split_once(' ').unwrap();
        if outcome == "ok" { Ok(rest.to_owned()) } else { Err(rest.to_owned()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A server with a third of the connections gets none of so many once in 10^10 runs.
const ATTEMPTS: usize = 60;

/// Does what the lines of its standard input say, and answers each with a line: "ok ..." or "error NAME".
const CLIENT: &str = r#"
import errno, hashlib, http.client, socket, sys
def outcome(action):
    try: return "ok " + action()
    except TimeoutError: return "error silence"
    except OSError as error: return "error " + errno.errorcode.get(error.errno, repr(error))
    except Exception as error: return "error " + repr(error)
def connect():
    global connection
    connection = socket.create_connection((sys.argv[1], 80), timeout=20)
    return ""
def send(path):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    return ""
def receive():
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    if answer.status != 200: raise OSError(f"status {answer.status}")
    body = answer.read()
    return f"{answer.headers['X-Backend']} {len(body)} {hashlib.sha256(body).hexdigest()}"
print(outcome(connect), flush=True)
for line in sys.stdin:
    words = line.split()
    print(outcome(lambda: send(words[1]) if words[0] == "send" else receive()), flush=True)
"#;
