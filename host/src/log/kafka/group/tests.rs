use super::*;

#[derive(Debug, Default)]
struct Nobody;

impl Tenant for Nobody {
    fn has(&self, _: u32) {}
    fn leave(&self, _: &[u32], _: Duration) {}
    fn lost(&self, _: &[u32]) {}
    fn cast_out(&self, _: &str) {}
}

#[test]
fn a_lane_that_others_take_again_and_again_is_contested_while_the_group_gives_it_to_us() {
    let ours = Ours::default();
    ours.lock().extend([1, 2, 3, 4]);
    for _ in 0..2 * CONTESTED {
        ours.contested(7);
    }
    // A host that slept loses all of its lanes at once.
    (1..=4).for_each(|lane| ours.contested(lane));
    assert!(!ours.is_contested(), "of seven that is not ours nobody may wonder, and of the others nobody yet");
    for _ in 1..CONTESTED {
        ours.contested(2);
    }
    assert!(ours.is_contested());
    assert!(!ours.is_contested(), "it is said once");
}

#[test]
fn a_group_is_unsettled_while_its_coordinator_answers_and_the_member_is_not_steady() {
    let context = Context::new(Arc::default(), Arc::new(Nobody), Arc::default());
    let report = |state: &str, join_state: &str| {
        context.stats_raw(format!(r#"{{"cgrp":{{"state":"{state}","join_state":"{join_state}"}}}}"#).as_bytes());
        context.is_unsettled(Duration::ZERO)
    };
    assert!(!report("up", "steady"));
    assert!(report("up", "wait-sync"));
    assert!(report("up", "wait-join"), "and goes on");
    assert!(!report("query-coord", "wait-join"), "nobody answers: there is nothing to be joined anew");
    assert!(report("up", "init"));
    assert!(!report("up", "steady"));
    context.stats_raw(b"no report");
    context.stats_raw(b"{}");
    assert!(!context.is_unsettled(Duration::ZERO));
}
