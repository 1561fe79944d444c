//! Other versions of the same module, for swaps: `ordain build --features v2-fee`, one at a time.
//!
//! | feature | what differs from the first version |
//! |---|---|
//! | `v2-fee` | each withdrawal costs [`v2_fee::FEE`]; events of either version can be read by the other |
//! | `v2-no-overdraft` | a withdrawal may not use the overdraft limit any more |
//! | `v3` | the state also counts deposits and withdrawals: another layout, so `STATE_VERSION` is 2 |
//! | `v4` | a mistake: it cannot read the deposits that earlier versions recorded |
//! | `trap` | a mistake: panics on a withdrawal of exactly [`POISON_AMOUNT`] |
//! | `loop` | a mistake: never comes back from a withdrawal of exactly [`POISON_AMOUNT`] |
//!
//! All are compiled and tested natively; the feature picks the one that becomes the module.

pub mod endless;
pub mod trap;
pub mod v2_fee;
pub mod v2_no_overdraft;
pub mod v3;
pub mod v4;

/// The withdrawal, in cents, that `trap` and `loop` do not survive. Any other command is decided as ever.
pub const POISON_AMOUNT: i64 = 13;

#[cfg(feature = "loop")]
ordain_sdk::export!(endless::Account);
#[cfg(feature = "trap")]
ordain_sdk::export!(trap::Account);
#[cfg(feature = "v2-fee")]
ordain_sdk::export!(v2_fee::Account);
#[cfg(feature = "v2-no-overdraft")]
ordain_sdk::export!(v2_no_overdraft::Account);
#[cfg(feature = "v3")]
ordain_sdk::export!(v3::Account);
#[cfg(feature = "v4")]
ordain_sdk::export!(v4::Account);
