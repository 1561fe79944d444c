//! ordain-demo
