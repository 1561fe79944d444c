//! bank-account
