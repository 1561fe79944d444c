//! The check stays linear: a long log takes seconds.

use super::builder::Golden;

#[test]
fn fifty_thousand_commands_take_a_moment() {
    let mut golden = Golden::new();
    for account in 0..1_000 {
        let id = format!("acc-{account}");
        golden.open(&id);
        for amount in 1..=48 {
            golden.deposit(&id, amount);
        }
        golden.conflict(&id, 1);
    }
    let report = golden.judge();
    assert!(report.holds(), "{report}");
    assert_eq!(report.commands, 50_000);
    println!("{:.2} s for 50,000 commands", report.seconds);
    assert!(report.seconds < 10.0, "{} s for 50,000 commands", report.seconds);
}
