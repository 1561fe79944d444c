//! The ordain daemon and its command line.
fn main() {}
