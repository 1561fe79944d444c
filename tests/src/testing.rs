//! A family as a test of `cargo test`: once, on a field beside the test's own program.

use tokio::sync::Semaphore;

use crate::families::named;
use crate::field::Field;

/// Runs a family as a test, when one of the `seats` of its program is free.
///
/// # Panics
/// If the family finds a broken promise, or what it needs is not built.
pub fn run(name: &str, seats: &Semaphore) {
    let program = std::env::current_exe().expect("a program has a path");
    let family = named(name);
    let field = Field::beside(&program, name, 7).unwrap_or_else(|error| panic!("{error:#}"));
    if family.on_kafka && std::env::var_os("ORDAIN_TEST_KAFKA").is_none() {
        return field.skip("nobody asked for Kafka: ORDAIN_TEST_KAFKA is not set; `cargo xtask test` sets it");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let ran = runtime.block_on(async {
        let _seats = seats.acquire().await?;
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

/// The tests of a program: all families of one log, so many at once.
#[macro_export]
macro_rules! family_tests {
    (on_kafka: $on_kafka:literal, at_once: $at_once:literal; $($test:ident = $name:literal;)+) => {
        static SEATS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new($at_once);

        $(#[test] fn $test() { $crate::testing::run($name, &SEATS); })+

        #[test]
        fn every_family_is_a_test() {
            let all = $crate::families::ALL.iter().filter(|family| family.on_kafka == $on_kafka);
            assert_eq!(all.map(|family| family.name).collect::<Vec<_>>(), [$($name),+]);
        }
    };
}
