//! The parts of the data plane, each alone: what a step of a packet's way costs, and what a new table does.
//!
//! `cargo bench --bench parts` measures all of them in a few minutes, `cargo bench --bench parts -- flows/hit` those whose
//! name has that in it, `-- --test` runs each once. Before the times it prints the figures that no machine changes (unless
//! something is asked for that is not exactly `maglev` or `flows`), and fails if one of them misses its target. `EVENKEEL_BENCH_FLOWS=4000000,16000000` measures flow tables of these sizes.
//!
//! A time is that of one packet, flow, lease or table, as its name says. Parts that stand in a cache which is theirs alone
//! are faster than in a worker: this tells which part became slower, `--bench worker` what a packet costs.

mod flows;
mod leases;
mod maglev;
mod numbered;
mod order;
mod publication;
mod timing;
mod wire;

fn main() {
    let mut criterion = timing::criterion();
    if timing::wants_figures("maglev") {
        maglev::check_shares();
    }
    if timing::wants_figures("flows") {
        flows::check_octets();
    }
    wire::measure(&mut criterion);
    maglev::measure(&mut criterion);
    flows::measure(&mut criterion);
    leases::measure(&mut criterion);
    publication::measure(&mut criterion);
    criterion.final_summary();
}
