use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::model::{ClientPrefix, V4};

const SERVICE: ServiceId = ServiceId(3);
const BACKEND: BackendId = BackendId(5);

fn limits(clients: usize) -> Limits {
    let capacities = Capacities { services: 8, backends: 8 };
    Limits::new(capacities, clients, &IndexKey::new([1, 2, 3, 4]))
}

const fn applicant(client: u32, worker: u16) -> Applicant<V4> {
    Applicant { service: SERVICE, client, worker: WorkerId(worker) }
}

const NOW: Nanos = Nanos::from_secs(100);

#[test]
fn each_limit_refuses_with_its_own_reason_and_has_room_again_after_an_end() {
    let none = ServiceLimits::default();
    let all = [
        (ServiceLimits { connections: 2, ..none }, DropReason::ServiceLimit),
        (ServiceLimits { client_connections: 2, ..none }, DropReason::ClientLimit),
    ];
    for (of, reason) in all {
        let shared = limits(16);
        let admit = || shared.admit(applicant(7, 0), &of, NOW);
        let first = admit().unwrap();
        admit().unwrap();
        assert_eq!(admit(), Err(reason));
        shared.release(SERVICE, None, first);
        admit().unwrap();
        assert_eq!(admit(), Err(reason));
    }
    let all = [
        (ServiceLimits { connections_per_second: 2, ..none }, DropReason::ServiceRateLimit),
        (ServiceLimits { client_connections_per_second: 2, ..none }, DropReason::ClientRateLimit),
    ];
    for (of, reason) in all {
        let shared = limits(16);
        let admit = |now| shared.admit(applicant(7, 0), &of, now);
        let first = admit(NOW).unwrap();
        admit(NOW).unwrap();
        assert_eq!(admit(NOW), Err(reason));
        shared.withdraw(SERVICE, None, &of, first);
        admit(NOW).unwrap();
        assert_eq!(admit(NOW), Err(reason), "what was withdrawn can be used again, once");
        admit(NOW + Nanos::from_millis(500)).unwrap();
    }
}

#[test]
fn what_one_limit_refuses_costs_nothing_at_the_others() {
    let of = ServiceLimits {
        connections: 1,
        connections_per_second: 2,
        client_connections_per_second: 2,
        ..ServiceLimits::default()
    };
    let shared = limits(16);
    let first = shared.admit(applicant(7, 0), &of, NOW).unwrap();
    for _ in 0..10 {
        assert_eq!(shared.admit(applicant(7, 0), &of, NOW), Err(DropReason::ServiceLimit));
    }
    shared.release(SERVICE, None, first);
    shared.admit(applicant(7, 0), &of, NOW).unwrap();
}

#[test]
fn clients_of_one_prefix_share_a_limit_and_others_do_not() {
    let client_prefix = ClientPrefix { v4: 24, v6: 64 };
    let of = ServiceLimits { client_connections: 1, client_prefix, ..ServiceLimits::default() };
    let shared = limits(16);
    shared.admit(applicant(0x0a00_0001, 0), &of, NOW).unwrap();
    assert_eq!(shared.admit(applicant(0x0a00_00ff, 0), &of, NOW), Err(DropReason::ClientLimit));
    shared.admit(applicant(0x0a00_0100, 0), &of, NOW).unwrap();
    let other = Applicant { service: ServiceId(4), ..applicant(0x0a00_0001, 0) };
    shared.admit(other, &of, NOW).unwrap();
    assert_eq!(shared.clients(), 3);
}

#[test]
fn a_full_table_of_clients_lets_further_ones_in_and_counts_them() {
    let of = ServiceLimits { client_connections: 1, ..ServiceLimits::default() };
    let shared = limits(1);
    let holds: Vec<_> = (0..20).map(|n| shared.admit(applicant(n, 0), &of, NOW).unwrap()).collect();
    assert_eq!((shared.clients(), shared.clients_unlimited()), (8, 12));
    holds.into_iter().for_each(|holds| shared.release(SERVICE, None, holds));
    assert_eq!(shared.clients(), 0);
    shared.admit(applicant(99, 0), &of, NOW).unwrap();
    assert_eq!(shared.clients_unlimited(), 12, "there is room again");
}

#[test]
fn a_client_that_has_used_up_its_rate_keeps_its_slot_until_it_has_it_back() {
    let of = ServiceLimits { client_connections_per_second: 1, ..ServiceLimits::default() };
    let shared = limits(1);
    for n in 0..8 {
        let holds = shared.admit(applicant(n, 0), &of, NOW).unwrap();
        shared.release(SERVICE, None, holds);
    }
    shared.admit(applicant(8, 0), &of, NOW).unwrap();
    assert_eq!(shared.clients_unlimited(), 1);
    assert_eq!(shared.admit(applicant(0, 0), &of, NOW), Err(DropReason::ClientRateLimit));
    shared.admit(applicant(9, 0), &of, NOW + Nanos::from_secs(1)).unwrap();
    assert_eq!(shared.clients_unlimited(), 1);
}

#[test]
fn threads_together_are_never_above_a_limit_and_end_at_zero() {
    const WORKERS: u16 = 4;
    let of = ServiceLimits { connections: 7, client_connections: 3, ..ServiceLimits::default() };
    let shared = limits(2);
    let (over, let_in) = (AtomicBool::new(false), AtomicU32::new(0));
    let by_client: [AtomicU32; 6] = Default::default();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (shared, over, let_in, by_client) = (&shared, &over, &let_in, &by_client);
            scope.spawn(move || {
                let mut held = Vec::new();
                for n in 0..40_000_u32 {
                    let client = (n.wrapping_mul(2_654_435_761) >> 8) % 6;
                    if n % 3 != 2 {
                        let Ok(mut holds) = shared.admit(applicant(client, worker), &of, NOW) else {
                            continue;
                        };
                        holds.backend = shared.take_backend(BACKEND, 5);
                        // The test's own counts are taken after and given back before the real ones.
                        let now = let_in.fetch_add(1, Relaxed) + 1;
                        let of_client = by_client[client as usize].fetch_add(1, Relaxed) + 1;
                        let wrong = now > 7
                            || of_client > 3 && holds.client.is_some()
                            || shared.service_connections(SERVICE) > 7
                            || shared.backend_connections(BACKEND) > 5;
                        over.fetch_or(wrong, Relaxed);
                        held.push((client, holds));
                    } else if let Some((client, holds)) = held.pop() {
                        let_in.fetch_sub(1, Relaxed);
                        by_client[client as usize].fetch_sub(1, Relaxed);
                        shared.release(SERVICE, Some(BACKEND), holds);
                    }
                }
                for (client, holds) in held {
                    let_in.fetch_sub(1, Relaxed);
                    by_client[client as usize].fetch_sub(1, Relaxed);
                    shared.release(SERVICE, Some(BACKEND), holds);
                }
            });
        }
    });
    assert!(!over.into_inner(), "a limit was exceeded");
    assert_eq!(shared.service_connections(SERVICE), 0);
    assert_eq!(shared.backend_connections(BACKEND), 0);
    assert_eq!(shared.clients(), 0);
    assert_eq!(shared.clients_unlimited(), 0, "six clients have room");
}

#[test]
fn threads_together_get_no_more_than_the_rate() {
    let of = ServiceLimits { connections_per_second: 1_000, ..ServiceLimits::default() };
    let (shared, got) = (limits(2), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (shared, got) = (&shared, &got);
            scope.spawn(move || {
                for step in 0..10_000 {
                    let now = NOW + Nanos(step * 100_000);
                    let admitted = shared.admit(applicant(1, worker), &of, now).is_ok();
                    got.fetch_add(u32::from(admitted), Relaxed);
                }
            });
        }
    });
    let got = got.into_inner();
    assert!((1_000..=2_000).contains(&got), "{got} in a second, a bucket of 1000 before it");
}

proptest! {
    #[test]
    fn counts_are_those_of_the_connections_that_are_let_in(
        steps in prop::collection::vec((0..5_u32, any::<bool>()), 1..200),
        of_service in 0..6_u32, of_client in 0..4_u32,
    ) {
        let of = ServiceLimits { connections: of_service, client_connections: of_client, ..ServiceLimits::default() };
        let shared = limits(64);
        let mut held: Vec<(u32, Holds)> = Vec::new();
        for (client, begins) in steps {
            if begins {
                let of_this = held.iter().filter(|(other, _)| *other == client).count();
                let full = |limit: u32, n: usize| limit > 0 && n >= limit as usize;
                let expected = if full(of_client, of_this) {
                    Err(DropReason::ClientLimit)
                } else if full(of_service, held.len()) {
                    Err(DropReason::ServiceLimit)
                } else {
                    Ok(())
                };
                let admitted = shared.admit(applicant(client, 0), &of, NOW);
                prop_assert_eq!(admitted.map(|_| ()), expected);
                held.extend(admitted.ok().map(|holds| (client, holds)));
            } else if let Some(place) = held.iter().position(|(other, _)| *other == client) {
                let (_, holds) = held.swap_remove(place);
                shared.release(SERVICE, None, holds);
            }
            let counted = if of_service > 0 { held.len() } else { 0 };
            prop_assert_eq!(shared.service_connections(SERVICE) as usize, counted);
        }
    }
}
