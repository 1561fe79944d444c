//! Modules that want to do harm, each with the verdict it must get. The list follows the ones that other hosts of Wasm
//! have met; what they share is that the host and every other module go on as if nothing had happened.

mod outputs;
mod running;
mod statics;

use super::testing::{Wat, compile, context, honest, sandbox};
use super::{Decider, Fault, Instance, Sandbox, Verdict};

/// Loads a state and decides one command on a fresh instance.
fn decide(sandbox: &Sandbox, wat: &Wat) -> Result<(Verdict, Vec<u8>), Fault> {
    let mut instance = Instance::new(&compile(sandbox, wat))?;
    instance.load(0, &[])?;
    let mut out = Vec::new();
    instance.decide(0, &context(0), &[5], &mut out).map(|verdict| (verdict, out))
}

/// The honest module still decides.
fn others_go_on(sandbox: &Sandbox) {
    assert_eq!(decide(sandbox, &honest()).unwrap().0, Verdict::Accepted { count: 1 });
}

/// Memory of this process in bytes.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_flood_of_faults_leaves_nothing_behind() {
    let sandbox = sandbox();
    let traps = compile(&sandbox, &honest().body("ordain_decide", "unreachable"));
    let flood = |times: u32| {
        for _ in 0..times {
            let mut instance = Instance::new(&traps).unwrap();
            instance.load(0, &[]).unwrap();
            assert!(instance.decide(0, &context(0), &[5], &mut Vec::new()).unwrap_err().instance_lost);
        }
    };
    flood(200);
    let before = resident_bytes();
    flood(5_000);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more after 5,000 traps");
    others_go_on(&sandbox);
}
