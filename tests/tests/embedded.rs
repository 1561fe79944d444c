//! The end-to-end tests on the embedded log: each family of faults once, against a real daemon, which measures times and
//! fills disks and has the machine for itself.
//!
//! They need the daemon beside them and the modules in `target/guests`; `cargo xtask test` builds both.

ordain_tests::family_tests! {
    on_kafka: false, at_once: 1;
    kills_under_load_lose_and_double_nothing = "kills";
    a_hundred_swaps_under_load_lose_and_double_nothing = "swaps";
    half_a_file_never_decides = "folder";
    a_module_that_fails_harms_one_command_only = "hostile";
    a_start_finds_what_was_left_or_says_what_is_wrong = "restarts";
    a_disk_that_fails_or_is_full_costs_nothing_acknowledged = "disk";
    the_api_keeps_its_promises = "promises";
}
