//! The size of segments that both sides of a connection agree on fits the ports between them.

use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, Decoded, SYN, decode};

/// The option in a frame whose checksums `decode` has judged.
fn mss_in(frame: &[u8]) -> Option<u16> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{frame:x?}") };
    tcp.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
        _ => None,
    })
}

/// What is offered of what a packet offers, and where it went.
fn sent_on(lab: &mut Lab, packet: &Build) -> (Option<u16>, Decoded) {
    lab.deliver_to(0, &packet.tcp());
    lab.settle();
    let frame = lab.sent().pop().expect("it goes on");
    (mss_in(&frame), decode(&frame))
}

#[test]
fn a_syn_and_its_answer_offer_no_more_than_the_ports_take() {
    for (client, vip, most) in [
        ("198.51.100.7:40000", "203.0.113.80:80", 1460),
        ("[2001:db8:7::7]:40000", "[2001:db8::80]:80", 1440),
    ] {
        let mut lab = Lab::new(Plan::default());
        let (offer, at_backend) = sent_on(&mut lab, &Build::new(client, vip).mss(8960));
        assert_eq!(offer, Some(most));
        let answer = Build::answer(&at_backend).flags(SYN | ACK);
        assert_eq!(sent_on(&mut lab, &answer.clone().mss(8940)).0, Some(most));
        assert_eq!(
            sent_on(&mut lab, &answer.clone().mss(536)).0,
            Some(536),
            "less is the sender's own affair"
        );
        assert_eq!(sent_on(&mut lab, &answer).0, None, "and so is none");
    }
}
