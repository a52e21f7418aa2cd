//! Health checks over TLS, and agents, of real servers.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::WEB4;
use crate::lab::Arms;
use crate::lab::Lab;

#[test]
fn state_and_weight_follow_a_check_over_tls_and_an_agent() {
    let Some(lab) = Lab::lay("tls", Arms::Two, 1) else { return };
    let [good, other] = ["lab.test", "other.test"].map(|name| Certificate::make(&lab, name));
    let authorities = lab.directory().join("authorities.pem");
    let both = [&good, &other].map(|made| fs::read_to_string(&made.certificate).unwrap());
    fs::write(&authorities, both.concat()).unwrap();
    for server in ["b1", "b2"] {
        start_tls(&lab, server, &good);
        start_agent(&lab, server);
    }
    let probe = format!(
        "kind = \"https\"\nport = 8443\npath = \"/healthz\"\nserver_name = \"lab.test\"\nca = \"{}\"\n\
         interval = \"400ms\"\ntimeout = \"400ms\"\nfall = 2\nrise = 1\n\
         [service.health.agent]\nport = 9000\ninterval = \"200ms\"\ntimeout = \"150ms\"\n",
        authorities.display()
    );
    let configuration =
        Configuration { weights: [Some(100), Some(100), None], probe, ..Configuration::new(Arms::Two) };
    let balancer = Balancer::start(&lab, &configuration);
    for (line, state, weight) in [
        ("up 50%", "up", 50),
        ("drain", "draining", 50),
        ("ready 100%", "up", 100),
        ("maint", "maintenance", 100),
        ("ready down", "down", 100),
        ("up", "up", 100),
    ] {
        advise(&lab, "b2", line);
        let there = || b2(&balancer).iter().all(|b2| b2["state"] == state && b2["weight"] == weight);
        balancer.wait(&format!("b2 is {state} with weight {weight} after {line:?}"), SOON, there);
        balancer.wait_published();
        let answers = client::requests(&lab, WEB4, 40);
        answers.assert_complete(40);
        assert_eq!(answers.by_server.contains_key("b2"), state == "up", "{line:?}: {answers:?}");
    }
    start_tls(&lab, "b2", &other);
    balancer.wait_state("b2", "down", SOON);
    for b2 in b2(&balancer) {
        assert_eq!(b2["last_check"], "tls=certificate_wrong_name");
    }
    start_tls(&lab, "b2", &good);
    balancer.wait_state("b2", "up", SOON);
}

/// A certificate for a name that is its own authority, as files.
struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    fn make(lab: &Lab, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let write = |kind: &str, text: String| {
            let path = lab.directory().join(format!("{name}.{kind}"));
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Self {
            certificate: write("crt", made.cert.pem()),
            key: write("key", made.signing_key.serialize_pem()),
        }
    }
}

/// A server of its own for health checks over TLS, or the one that runs with another certificate.
fn start_tls(lab: &Lab, server: &str, certificate: &Certificate) {
    let directory = lab.directory().join(server);
    let is_new = !directory.exists();
    fs::create_dir_all(&directory).unwrap();
    let Certificate { certificate, key } = certificate;
    let file = directory.join("tls.conf");
    let text = format!(
        "user root;\npid tls.pid;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n\
         server {{\nlisten 8443 ssl;\nlisten [::]:8443 ssl;\nssl_certificate {certificate};\n\
         ssl_certificate_key {key};\nlocation = /healthz {{ return 200; }}\n}}\n}}\n"
    );
    fs::write(&file, text).unwrap();
    let (directory, file) = (directory.to_str().unwrap(), file.to_str().unwrap());
    let log = format!("{directory}/error.log");
    let line = ["nginx", "-p", directory, "-e", &log, "-c", file];
    if is_new {
        lab.must(server, &line)
    } else {
        lab.must(server, &[&line[..], &["-s", "reload"]].concat())
    };
}

/// It says what stands in a file. It ends with the lab.
fn start_agent(lab: &Lab, server: &str) {
    advise(lab, server, "up");
    let file = lab.directory().join(format!("{server}.advice"));
    let mut agent = lab.command(server, &["python3", "-c", AGENT, file.to_str().unwrap()]);
    let quiet = Stdio::null;
    drop(agent.stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().unwrap());
}

fn advise(lab: &Lab, server: &str, line: &str) {
    // An agent never sees half of it.
    let file = lab.directory().join(format!("{server}.advice"));
    let new = file.with_extension("new");
    fs::write(&new, format!("{line}\n")).unwrap();
    fs::rename(new, file).unwrap();
}

/// As the services have it, of both families.
fn b2(balancer: &Balancer<'_>) -> Vec<Value> {
    let answer = balancer.ask("backends");
    let backends = answer["backends"].as_array().unwrap().iter();
    backends.filter(|backend| backend["address"].as_str().unwrap().ends_with('2')).cloned().collect()
}

const AGENT: &str = r#"
import socketserver, socket, sys
class Agent(socketserver.BaseRequestHandler):
    def handle(self):
        with open(sys.argv[1], "rb") as advice: self.request.sendall(advice.read())
class Server(socketserver.TCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
Server(("::", 9000), Agent).serve_forever()
"#;

const SOON: Duration = Duration::from_secs(5);
