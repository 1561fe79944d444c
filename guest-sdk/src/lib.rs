//! What the author of an Ordain module uses: one trait, one macro, one test kit.
//!
//! ```
//! use ordain_sdk::prelude::*;
//!
//! #[derive(Default, Serialize, Deserialize, JsonSchema)]
//! pub struct Door { open: bool }
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! pub enum Command { Open {}, Close {} }
//! #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
//! pub enum Event { Opened { at: i64 }, Closed {} }
//! #[derive(Debug, PartialEq, Serialize, JsonSchema)]
//! pub enum Rejection { AlreadyOpen }
//!
//! impl Decider for Door {
//!     const TYPE: &'static str = "door";
//!     type Command = Command;
//!     type Event = Event;
//!     type Rejection = Rejection;
//!
//!     fn decide(&self, command: Command, context: &Context) -> Result<Vec<Event>, Rejection> {
//!         match command {
//!             Command::Open {} if self.open => Err(Rejection::AlreadyOpen),
//!             Command::Open {} => Ok(vec![Event::Opened { at: context.time_ms }]),
//!             Command::Close {} => Ok(vec![Event::Closed {}]),
//!         }
//!     }
//!
//!     fn evolve(&mut self, event: Event) {
//!         self.open = matches!(event, Event::Opened { .. });
//!     }
//! }
//! ordain_sdk::export!(Door);
//!
//! given::<Door>([]).at(7).when(Command::Open {}).then([Event::Opened { at: 7 }]);
//! given::<Door>([Event::Opened { at: 7 }]).when(Command::Open {}).then_rejected(Rejection::AlreadyOpen);
//! ```
//!
//! The same source compiles to the Wasm module that `ordain` hosts and, natively, to a library whose tests run in
//! milliseconds. In reading order: [`decider`] is the trait, [`mod@log`] what rules may say, [`spec`] the test kit;
//! [`runtime`] and [`export`] are how a module answers its host, and [`contract`] is what both sides agreed on.

pub mod codec;
pub mod contract;
pub mod decider;
pub mod export;
pub mod log;
pub mod runtime;
#[cfg(feature = "schemas")]
pub mod schemas;
#[cfg(not(target_arch = "wasm32"))]
pub mod spec;

pub use contract::Context;
pub use decider::Decider;
#[doc(hidden)]
pub use schemars;

/// Version of this SDK, as modules built with it report.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All that a module's source needs: `use ordain_sdk::prelude::*;`.
pub mod prelude {
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::spec::given;
    pub use crate::{Context, Decider, log};
    // The derive names its crate by `schemars::…`, so the crate itself has to be in scope beside the trait.
    pub use schemars::{self, JsonSchema};
    pub use serde::{Deserialize, Serialize};
}

/// The code in the guide is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/how-to/write-a-module.md")]
pub struct Guide;
