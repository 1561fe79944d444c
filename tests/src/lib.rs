//! ordain-tests
