//! ordain-sdk
pub mod contract;
