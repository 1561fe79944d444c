//! The end-to-end tests, one binary: each family of faults once, against a real daemon.
//!
//! They need the daemon beside them and the modules in `target/guests`; `cargo xtask test` builds both.

use ordain_tests::families::named;
use ordain_tests::field::Field;
use tokio::sync::Semaphore;

/// A family on the embedded log measures times and fills disks: it has the machine for itself. Those on Kafka wait for
/// sessions to pass most of the time, on logs of their own: two go at once.
static SEATS: Semaphore = Semaphore::const_new(2);

fn run(name: &str) {
    let program = std::env::current_exe().expect("a program has a path");
    let family = named(name);
    let field = Field::beside(&program, name, 7).unwrap_or_else(|error| panic!("{error:#}"));
    if family.on_kafka && std::env::var_os("ORDAIN_TEST_KAFKA").is_none() {
        return field.skip("nobody asked for Kafka: ORDAIN_TEST_KAFKA is not set; `cargo xtask test` sets it");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let ran = runtime.block_on(async {
        let _seats = SEATS.acquire_many(if family.on_kafka { 1 } else { 2 }).await?;
        (family.run)(&field).await
    });
    match ran {
        Ok(counts) => {
            println!("{name}: {counts:?}");
            field.clear();
        }
        Err(error) => panic!("{name} (seed {}, kept in {}): {error:#}", field.seed, field.folder.display()),
    }
}

macro_rules! families {
    ($($test:ident = $name:literal;)+) => {
        $(#[test] fn $test() { run($name); })+

        #[test]
        fn every_family_is_a_test() {
            let tested = [$($name),+];
            let all: Vec<_> = ordain_tests::families::ALL.iter().map(|family| family.name).collect();
            assert_eq!(all, tested);
        }
    };
}

families! {
    kills_under_load_lose_and_double_nothing = "kills";
    a_hundred_swaps_under_load_lose_and_double_nothing = "swaps";
    half_a_file_never_decides = "folder";
    a_module_that_fails_harms_one_command_only = "hostile";
    a_start_finds_what_was_left_or_says_what_is_wrong = "restarts";
    a_disk_that_fails_or_is_full_costs_nothing_acknowledged = "disk";
    the_api_keeps_its_promises = "promises";
    hosts_that_share_a_log_on_kafka_answer_once = "hosts";
    poison_is_answered_and_stops_nobody = "poison";
    what_a_topic_does_not_take_is_answered_as_too_large = "oversized";
    a_log_with_a_hole_is_refused_by_name = "holes";
    hosts_killed_at_named_points_lose_and_double_nothing = "points";
    hosts_that_wake_up_after_their_time_write_nothing = "zombies";
    late_and_doubled_ends_of_transactions_end_nothing = "endtxn";
    two_hosts_that_take_one_lane_at_once_leave_one_owner = "crossed";
    a_host_that_slept_longer_than_its_fence_lives_takes_anew = "expired";
    foreign_transactions_hide_no_answer_from_an_owner = "foreign";
    kafkas_own_console_tools_send_commands_and_read_their_answers = "console";
    a_broker_that_demands_tls_a_password_and_rights_is_served = "secure";
    brokers_that_go_or_are_cut_off_cost_nothing_answered = "brokers";
    a_storm_of_rebalances_loses_and_doubles_nothing = "rebalances";
}
