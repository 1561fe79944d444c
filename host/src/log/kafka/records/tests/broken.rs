//! Records that do not follow from the ones before them.

use super::*;

pub fn refused(records: &[Kept]) -> String {
    restored(records, &mut assembler()).map(|block| block.count()).unwrap_err()
}

/// R4: a log with a hole, a repeat or a command cut in two is never decided on.
#[test]
fn a_record_that_does_not_follow_is_refused() {
    let story = story();
    assert_eq!(restored(&story, &mut assembler()).unwrap().count(), 5);
    for gone in 0..story.len() - 1 {
        let mut holed = story.clone();
        holed.remove(gone);
        let text = refused(&holed);
        assert!(text.contains("ce_logsequence") && text.contains("shop.account.events partition 2"), "{text}");
    }
    for twice in 0..story.len() {
        let mut repeated = story.clone();
        repeated.insert(twice, story[twice].clone());
        assert!(refused(&repeated).contains("ce_logsequence"), "{twice}");
    }
    for cut in [1, 6, 7] {
        assert!(refused(&story[..cut]).contains("is missing"), "{cut}");
    }
}

#[test]
fn a_record_that_says_another_thing_than_before_is_refused() {
    let story = story();
    let cases: [(usize, &std::ffi::CStr, &str, &str); 26] = [
        (0, name::COMMAND_INDEX, "2", "the first one comes next"),
        (0, name::COMMAND_INDEX, "0", "the first one comes next"),
        (0, name::COMMAND_COUNT, "0", "the first one comes next"),
        (0, name::SEQUENCE, "0", "version 0"),
        (1, name::COMMAND_COUNT, "3", "event 2 of 3"),
        (1, name::COMMAND_INDEX, "1", "event 1 of 2"),
        (1, name::SEQUENCE, "3", "version 3 behind version 1"),
        (1, name::SEQUENCE, "1", "version 1 behind version 1"),
        (1, name::COMMAND_ID, "c-9", "belongs to command c-9"),
        (1, name::COMMAND_OFFSET, "1", "belongs to command"),
        (1, name::COMMAND_HASH, "0000000000000abd", "belongs to command"),
        (1, name::EPOCH, "78", "belongs to command"),
        (2, name::COMMAND_OFFSET, "0", "that of 1 or later"),
        (2, name::COMMAND_INDEX, "1", "the first one comes next"),
        (2, name::SEQUENCE, "3", "with version 2 in it"),
        (2, name::CONTENT_TYPE, "text/plain", "content-type"),
        (2, name::CONTENT_TYPE, MESSAGEPACK, "cannot be read"),
        (2, name::TIME, "yesterday", "ce_time"),
        (2, name::MODULE, "sha256:12", "ce_module"),
        (2, name::COMMAND_HASH, "xyz", "ce_commandhash"),
        (2, name::COMMAND_OFFSET, "-1", "ce_commandoffset"),
        (2, name::COMMAND_OFFSET, "18446744073709551616", "ce_commandoffset"),
        (2, name::COMMAND_COUNT, "4294967296", "ce_commandcount"),
        (2, name::COMMAND_ID, "a b", "ce_commandid"),
        (4, name::COMMAND_OFFSET, "2", "that of 3 or later"),
        (5, name::COMMAND_OFFSET, "18446744073709551615", "impossible"),
    ];
    for (at, name, value, wanted) in cases {
        let mut wrong = story.clone();
        wrong[at].set(name, value);
        let text = refused(&wrong);
        assert!(text.contains(wanted) && text.contains(&format!("offset {}", 100 + at)), "{name:?} {value}: {text}");
    }
    for at in [0, 2] {
        for gone in 0..story[at].headers.len() {
            let mut wrong = story.clone();
            let (name, _) = wrong[at].headers.remove(gone);
            let free = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_correlationid"];
            if !free.contains(&std::str::from_utf8(&name).unwrap()) {
                assert!(refused(&wrong).contains("has no header"), "{name:?}");
            }
        }
    }
}

#[test]
fn outcomes_that_say_nothing_are_refused() {
    for (value, wanted) in [
        ("{}", "no version"),
        ("[]", "not one MessagePack map"),
        ("{", "not the JSON"),
        ("{\"version\":2}", "no field"),
        ("{\"version\":2,\"outcome\":\"pardoned\"}", "pardoned"),
        ("{\"version\":2,\"outcome\":\"rejected\"}", "without a rejection"),
        ("{\"version\":2,\"outcome\":\"conflict\",\"conflict\":{\"expected\":1}}", "no actual"),
        ("{\"version\":2,\"outcome\":\"conflict\",\"conflict\":{\"expected\":1,\"actual\":3}}", "version 3"),
        ("{\"version\":2,\"outcome\":\"failed\",\"failure\":{\"reason\":\"mood\",\"message\":\"\"}}", "mood"),
        ("{\"version\":2,\"outcome\":\"failed\",\"failure\":{\"reason\":\"trap\"}}", "no message"),
    ] {
        let mut wrong = story();
        wrong[2].value = value.into();
        let text = refused(&wrong);
        assert!(text.contains(wanted), "{value}: {text}");
    }
}
