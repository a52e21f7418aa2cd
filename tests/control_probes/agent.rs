//! Agents.

use std::io::Write;
use std::net::SocketAddr;

use evenkeel::config::ProbeKind;
use evenkeel::control::health::Advice;
use evenkeel::control::health::AdvisedMode;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeOutcome;
use evenkeel::control::health::Prober;
use evenkeel::control::health::Question;

use super::ask;
use super::closed;
use super::impatient;
use super::question;
use super::read_head;
use super::server;

fn agent(target: SocketAddr) -> Question {
    question(target, ProbeKind::Agent)
}

/// Says `line` at once and closes.
fn saying(line: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let _gone = stream.write_all(line.as_bytes());
    })
}

#[tokio::test]
async fn an_agents_line_is_its_advice_and_down_is_a_failure() {
    let advice = |up, mode, weight_percent| Some(Advice { up, mode, weight_percent });
    for (line, result, expected) in [
        ("up 75%\n", Ok(()), advice(Some(true), None, Some(75))),
        ("drain", Ok(()), advice(None, Some(AdvisedMode::Drain), None)),
        ("maint,0%\r\n", Ok(()), advice(None, Some(AdvisedMode::Maint), Some(0))),
        ("down #disk full\n", Err(ProbeFailure::Agent), advice(Some(false), None, None)),
        ("stopped\tready\n", Err(ProbeFailure::Agent), advice(Some(false), Some(AdvisedMode::Ready), None)),
        ("SSH-2.0-OpenSSH_9.2\r\n", Err(ProbeFailure::Malformed), None),
        ("", Err(ProbeFailure::Closed), None),
    ] {
        let outcome = Prober::default().ask(&agent(saying(line))).await.unwrap();
        assert_eq!(outcome, ProbeOutcome { result, advice: expected }, "{line:?}");
    }
}

#[tokio::test]
async fn an_agent_that_does_not_come_to_an_end_is_given_up() {
    assert_eq!(ask(agent(closed())).await, Err(ProbeFailure::Refused));
    let silent = server(|stream| {
        read_head(&stream);
    });
    assert_eq!(ask(impatient(agent(silent))).await, Err(ProbeFailure::Timeout));
    let endless = server(|mut stream| while stream.write_all(&[b'x'; 512]).is_ok() {});
    assert_eq!(ask(agent(endless)).await, Err(ProbeFailure::Malformed));
}
