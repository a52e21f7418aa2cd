//! A DNS query over UDP and its answer (RFC 1035, 4.1), as far as a probe needs them.

use std::io;

use tokio::net::UdpSocket;

use super::ProbeFailure;
use super::ProbeResult;
use crate::config::DnsProbe;
use crate::config::Rcode;

/// Asks under the identifier `id`, behind an introduction. Datagrams that do not answer this question are passed over: they may be late, or
/// another's.
pub(super) async fn ask(
    socket: &UdpSocket,
    introduction: &[u8],
    probe: &DnsProbe,
    id: u16,
) -> io::Result<ProbeResult> {
    let query = query(probe, id);
    socket.send(&[introduction, &query].concat()).await?;
    let mut answer = [0; LARGEST_MESSAGE];
    loop {
        let octets = socket.recv(&mut answer).await?;
        if let Some(rcode) = rcode(&query, &answer[..octets]) {
            return Ok(match rcode {
                Err(failure) => Err(failure),
                Ok(code) if code == probe.rcode => Ok(()),
                Ok(code) => Err(ProbeFailure::Rcode(code)),
            });
        }
    }
}

/// One question, recursion desired.
fn query(probe: &DnsProbe, id: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + probe.query.len() + 6);
    let recursion_desired = 1 << 8;
    for field in [id, recursion_desired, 1, 0, 0, 0] {
        message.extend_from_slice(&u16::to_be_bytes(field));
    }
    for label in probe.query.split('.').filter(|label| !label.is_empty()) {
        // At most 63 octets, which the configuration has checked.
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    let class_internet = 1;
    for field in [probe.record.0, class_internet] {
        message.extend_from_slice(&u16::to_be_bytes(field));
    }
    message
}

/// The response code, if this has the identifier of `query`.
fn rcode(query: &[u8], answer: &[u8]) -> Option<Result<Rcode, ProbeFailure>> {
    if answer.get(..2)? != query.get(..2)? {
        return None;
    }
    let malformed = Some(Err(ProbeFailure::Malformed));
    let (Some(header), Some(asked)) = (answer.get(..HEADER), query.get(HEADER..)) else { return malformed };
    let is_response = header[2] & 0x80 != 0;
    let opcode = header[2] >> 3 & 0xf;
    if !is_response || opcode != 0 {
        return malformed;
    }
    let code = Rcode(header[3] & 0xf);
    // A server that does not understand a query may leave the question out.
    let questions = u16::from_be_bytes([header[4], header[5]]);
    let echoed =
        answer.get(HEADER..HEADER + asked.len()).is_some_and(|echo| echo.eq_ignore_ascii_case(asked));
    match (questions, echoed) {
        (1, true) => Some(Ok(code)),
        (0, _) if code != Rcode(0) => Some(Ok(code)),
        _ => malformed,
    }
}

const HEADER: usize = 12;
/// RFC 1035, 4.2.1: the most that comes over UDP to those who do not ask for more.
const LARGEST_MESSAGE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RecordType;

    fn probe() -> DnsProbe {
        DnsProbe { query: "a.example".to_owned(), record: RecordType(28), rcode: Rcode(0) }
    }

    #[test]
    fn a_query_is_what_rfc_1035_says() {
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x1c\0\x01";
        assert_eq!(query(&probe(), 0x1234), expected);
        let root = DnsProbe { query: String::new(), ..probe() };
        assert_eq!(query(&root, 0).len(), HEADER + 5);
    }

    #[test]
    fn an_answer_is_judged_by_its_head_and_the_question_it_repeats() {
        let asked = query(&probe(), 0x1234);
        let answer = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut answer = asked.clone();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            change(&mut answer);
            rcode(&asked, &answer)
        };
        let malformed = Some(Err(ProbeFailure::Malformed));
        assert_eq!(answer(&|_| {}), Some(Ok(Rcode(0))));
        assert_eq!(answer(&|a| a[3] |= 2), Some(Ok(Rcode(2))));
        assert_eq!(answer(&|a| a[14] = b'E'), malformed, "another name");
        assert_eq!(answer(&|a| a[13] = b'A'), Some(Ok(Rcode(0))), "another case");
        assert_eq!(answer(&|a| a[0] = 0), None, "another identifier");
        assert_eq!(answer(&|a| a[2] = 1), malformed, "a query");
        assert_eq!(answer(&|a| a[2] |= 0x28), malformed, "another operation");
        assert_eq!(answer(&|a| a.truncate(5)), malformed, "cut short");
        assert_eq!(answer(&|a| a.truncate(1)), None);
        let formerr = |a: &mut Vec<u8>| {
            a.truncate(HEADER);
            a[3] = 1;
            a[5] = 0;
        };
        assert_eq!(answer(&formerr), Some(Ok(Rcode(1))));
    }
}
