//! The ordain daemon and its command line.

use std::process::ExitCode;

/// For librdkafka's C code too, which allocates for every header of every record (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ordain::cli::run(std::env::args_os())
}
