//! The answer to an EndTxn is lost on its way, and the client sends it again: the commit is one, but a late copy of the
//! request may end a later transaction (KAFKA-17754). Only a commit with one EndTxn is a plain success.

use super::proxy::Proxy;
use super::*;
use crate::log::LogError;
use crate::log::conformance::owner::{Owner, records};

/// A log whose hosts reach their broker through a proxy.
fn behind_a_proxy(brokers: &str) -> (Real, Proxy) {
    let proxy = Proxy::before(brokers);
    (Real::new(&proxy.address), proxy)
}

#[test]
fn a_commit_whose_end_was_sent_twice_ends_the_ownership() {
    let Some(brokers) = brokers() else { return };
    let (real, proxy) = behind_a_proxy(&brokers);
    let mut owner = Owner::taken(&real, 0);
    owner.write("a");
    let before = proxy.seen.end_txns.load(Ordering::Acquire);
    proxy.seen.lose.store(1, Ordering::Release);
    let result = owner.commit(owner.block("b"));
    // Once more each time that a busy broker says that it is not done yet.
    let sent = proxy.seen.end_txns.load(Ordering::Acquire) - before;
    assert!(sent >= 2, "the client sends it again");
    let error = result.expect_err("it is no plain success");
    assert!(
        matches!(&error, LogError::Ambiguous { cause, .. } if cause.contains(&format!("EndTxn was sent {sent} times"))),
        "{error}"
    );
    owner.commit(owner.block("c")).expect_err("nothing goes on under the same term");
    owner.take(Lsn(0)).expect("the lane can be had");
    let texts: Vec<_> = records(&owner.replayed).into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["a", "b"], "taking the lane anew tells that it happened");
    owner.write("c");
}

#[test]
fn a_taking_whose_end_was_sent_twice_is_done_again() {
    let Some(brokers) = brokers() else { return };
    let (real, proxy) = behind_a_proxy(&brokers);
    Owner::taken(&real, 0).write("a");
    let (inits, ends) = (proxy.seen.inits.load(Ordering::Acquire), proxy.seen.end_txns.load(Ordering::Acquire));
    proxy.seen.lose.store(1, Ordering::Release);
    let mut owner = Owner::taken(&real, 0);
    let ends = proxy.seen.end_txns.load(Ordering::Acquire) - ends;
    assert!(ends >= 3, "one barrier whose end was sent twice, and another: {ends}");
    assert!(proxy.seen.inits.load(Ordering::Acquire) >= inits + 2, "each begins with an init");
    assert_eq!(owner.write("b").1, 1);
}
