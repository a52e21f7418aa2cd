//! A datagram and its answer.

use std::io;

use tokio::net::UdpSocket;

use super::ProbeFailure;
use super::ProbeResult;
use crate::config::Expect;
use crate::config::UdpProbe;

/// Sends, behind an introduction, and judges the first answer. Silence lasts until the timeout of the probe.
pub(super) async fn ask(
    socket: &UdpSocket,
    introduction: &[u8],
    probe: &UdpProbe,
) -> io::Result<ProbeResult> {
    socket.send(&[introduction, probe.send.as_bytes()].concat()).await?;
    let mut answer = vec![0; LARGEST_DATAGRAM];
    let octets = socket.recv(&mut answer).await?;
    Ok(match &probe.expect {
        Expect::Any | Expect::Nothing => Ok(()),
        Expect::Text(text) => {
            let text = text.as_bytes();
            let found = text.is_empty() || answer[..octets].windows(text.len()).any(|window| window == text);
            if found { Ok(()) } else { Err(ProbeFailure::Mismatch) }
        }
    })
}

/// RFC 768: the length has 16 bits.
const LARGEST_DATAGRAM: usize = 65_535;
