//! The end-to-end tests on Apache Kafka: each family of faults once, against real daemons on a broker of its own. They wait
//! for sessions to pass most of the time: two go at once.
//!
//! They need the daemon beside them and the modules in `target/guests`; `cargo xtask test` builds both, and says with
//! `ORDAIN_TEST_KAFKA` that Kafka is wanted.

ordain_tests::family_tests! {
    on_kafka: true, at_once: 2;
    hosts_that_share_a_log_on_kafka_answer_once = "hosts";
    poison_is_answered_and_stops_nobody = "poison";
    a_record_that_its_topic_does_not_take_is_answered_as_too_large = "oversized";
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
    hosts_without_rules_take_no_lanes_and_types_without_topics_no_module = "unruled";
}
