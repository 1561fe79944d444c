//! ordain-benches
