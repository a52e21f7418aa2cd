//! HTTPS, with certificates made here.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use evenkeel::config::HttpProbe;
use evenkeel::config::ProbeKind;
use evenkeel::config::TlsProbe;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::Prober;
use evenkeel::control::health::Question;
use evenkeel::control::health::TlsFailure;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::date_time_ymd;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::rustls::StreamOwned;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::ask;
use super::closed;
use super::get;
use super::http;
use super::impatient;
use super::question;
use super::read_head;
use super::server;

/// An authority, and its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// What a server needs whose certificate is for www.example and 127.0.0.1, from one year to another.
    fn certified(&self, years: (i32, i32)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(["www.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

const VALID: (i32, i32) = (2020, 4000);

/// An HTTPS server that answers every request with `answer`, and the names that clients ask for.
fn https(config: Arc<ServerConfig>, answer: &'static str) -> (SocketAddr, mpsc::Receiver<Option<String>>) {
    let (seen, names) = mpsc::channel();
    let address = server(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(session, stream));
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).is_err() || line.is_empty() {
                // The prober does not like the certificate.
                return;
            }
        }
        let stream = stream.get_mut();
        let _test_over = seen.send(stream.conn.server_name().map(str::to_owned));
        // The prober may have seen enough. It is not told of the end of the session either.
        let _gone = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
    });
    (address, names)
}

fn trusting(ca: &Path) -> TlsProbe {
    TlsProbe { verify: true, ca: Some(ca.to_owned()), server_name: None }
}

fn probe(target: SocketAddr, http: HttpProbe, tls: TlsProbe) -> Question {
    question(target, ProbeKind::Https(http, tls))
}

fn hosted(host: &str) -> HttpProbe {
    HttpProbe { host: Some(host.to_owned()), ..get() }
}

const OK: &str = "HTTP/1.1 200 OK\r\n\r\nready";

#[tokio::test]
async fn the_name_is_the_servers_address_or_its_host_or_what_is_configured() {
    let authority = Authority::new("ours");
    let (address, names) = https(authority.certified(VALID), OK);
    let trusting = trusting(&authority.file());
    let named = |name: &str| TlsProbe { server_name: Some(name.to_owned()), ..trusting.clone() };
    for (description, http, tls, sni) in [
        ("the address", get(), trusting.clone(), None),
        ("the host", hosted("www.example"), trusting.clone(), Some("www.example")),
        ("the host and a port", hosted("www.example:8443"), trusting.clone(), Some("www.example")),
        ("a name", hosted("other.example"), named("www.example"), Some("www.example")),
        ("an address", hosted("other.example"), named("127.0.0.1"), None),
    ] {
        assert_eq!(ask(probe(address, http, tls)).await, Ok(()), "{description}");
        assert_eq!(names.recv().unwrap().as_deref(), sni, "{description}");
    }
    let wrong = Err(ProbeFailure::Tls(TlsFailure::WrongName));
    assert_eq!(ask(probe(address, hosted("other.example"), trusting.clone())).await, wrong);
    assert_eq!(ask(probe(address, get(), named("127.0.0.2"))).await, wrong);
}

#[tokio::test]
async fn certificates_are_judged_unless_any_will_do() {
    let (ours, others) = (Authority::new("ours"), Authority::new("another's"));
    for (description, years, authority, failure) in [
        ("past its time", (2000, 2001), &ours, TlsFailure::Expired),
        ("before its time", (3999, 4000), &ours, TlsFailure::NotYetValid),
        ("another authority's", VALID, &others, TlsFailure::UnknownIssuer),
    ] {
        let (address, _names) = https(authority.certified(years), OK);
        let judged = ask(probe(address, get(), trusting(&ours.file()))).await;
        assert_eq!(judged, Err(ProbeFailure::Tls(failure)), "{description}");
        let any = TlsProbe { verify: false, ca: None, server_name: None };
        assert_eq!(ask(probe(address, hosted("other.example"), any)).await, Ok(()), "{description}");
    }
    // Whether or not this machine has authorities of its own, ours is not among them.
    let (address, _names) = https(ours.certified(VALID), OK);
    let system = TlsProbe { verify: true, ca: None, server_name: None };
    let judged = Prober::default().ask(&probe(address, get(), system)).await;
    let unknown = Err(ProbeFailure::Tls(TlsFailure::UnknownIssuer));
    assert!(judged.is_err() || judged.is_ok_and(|outcome| outcome.result == unknown));
}

#[tokio::test]
async fn answers_over_tls_are_judged_as_those_without() {
    let authority = Authority::new("ours");
    let body = |text: &str| HttpProbe { body: Some(text.to_owned()), ..get() };
    let (good, _names) = https(authority.certified(VALID), OK);
    let (busy, _names_too) = https(authority.certified(VALID), "HTTP/1.1 503 Busy\r\n\r\n");
    for (address, http, expected) in [
        (good, body("ready"), Ok(())),
        (good, body("steady"), Err(ProbeFailure::Mismatch)),
        (busy, get(), Err(ProbeFailure::Status(503))),
    ] {
        assert_eq!(ask(probe(address, http, trusting(&authority.file()))).await, expected);
    }
}

#[tokio::test]
async fn servers_that_do_not_speak_tls_fail_by_what_they_do() {
    let any = TlsProbe { verify: false, ca: None, server_name: None };
    let silent = server(|stream| {
        let _hello = BufReader::new(stream).lines().count();
    });
    let handshake = Err(ProbeFailure::Tls(TlsFailure::Handshake));
    let plain = server(|mut stream| {
        let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        read_head(&stream);
    });
    for (description, address, expected) in [
        ("plain HTTP", plain, handshake),
        (
            "closes",
            server(|stream| drop(stream.shutdown(std::net::Shutdown::Write))),
            Err(ProbeFailure::Closed),
        ),
        ("refuses", closed(), Err(ProbeFailure::Refused)),
    ] {
        assert_eq!(ask(probe(address, get(), any.clone())).await, expected, "{description}");
    }
    assert_eq!(ask(impatient(probe(silent, get(), any.clone()))).await, Err(ProbeFailure::Timeout));
    // And the other way round.
    let authority = Authority::new("ours");
    let (address, _names) = https(authority.certified(VALID), OK);
    let judged = ask(http(address)).await;
    assert!(matches!(judged, Err(ProbeFailure::Malformed | ProbeFailure::Closed)), "{judged:?}");
}

#[tokio::test]
async fn authorities_that_cannot_be_read_say_nothing_about_the_backend() {
    let authority = Authority::new("ours");
    let (address, _names) = https(authority.certified(VALID), OK);
    let prober = Prober::default();
    let file = authority.directory.path().join("later.pem");
    let probe = probe(address, get(), trusting(&file));
    let error = prober.ask(&probe).await.unwrap_err().to_string();
    assert!(error.contains("later.pem"), "{error}");
    std::fs::write(&file, "").unwrap();
    let error = prober.ask(&probe).await.unwrap_err().to_string();
    assert!(error.contains("no certificate"), "{error}");
    std::fs::copy(authority.file(), &file).unwrap();
    assert_eq!(prober.ask(&probe).await.unwrap().result, Ok(()), "a failure is not kept");
}

#[tokio::test]
async fn renewed_file_of_authorities_is_read_again_when_asked_to() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (address, _names) = https(new.certified(VALID), OK);
    let prober = Prober::default();
    let probe = probe(address, get(), trusting(&old.file()));
    let unknown = Err(ProbeFailure::Tls(TlsFailure::UnknownIssuer));
    assert_eq!(prober.ask(&probe).await.unwrap().result, unknown);
    std::fs::copy(new.file(), old.file()).unwrap();
    assert_eq!(prober.ask(&probe).await.unwrap().result, unknown, "it is kept");
    prober.reread_certificates();
    assert_eq!(prober.ask(&probe).await.unwrap().result, Ok(()));
}

#[tokio::test]
async fn self_signed_certificate_of_an_authority_is_told_from_other_invalid_ones() {
    let mut params = CertificateParams::new(["www.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, issuer.pem()).unwrap();
    let key = PrivateKeyDer::try_from(issuer.key().serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issuer.der().clone()], key)
        .unwrap();
    let (address, _names) = https(Arc::new(config), OK);
    let judged = ask(probe(address, get(), trusting(&file))).await;
    assert_eq!(judged, Err(ProbeFailure::Tls(TlsFailure::Authority)));
}
