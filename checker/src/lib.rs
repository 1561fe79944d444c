//! ordain-checker
