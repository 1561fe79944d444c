//! ordain
