//! Several hosts on a broker of their own, with a proxy between them that stops requests on their way.
//!
//! Reading order: [`wire`] is what is understood of Kafka's protocol, [`proxy`] stops requests and answers, [`scene`] is
//! the broker with its hosts, [`clients`] those who ask them, [`reads`] those who ask a host that stands still, [`foreign`]
//! somebody else who writes into the topics.

pub mod clients;
pub mod foreign;
pub mod proxy;
pub mod reads;
pub mod scene;
pub mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Partitions of the logs here.
pub const PARTITIONS: u32 = 8;
/// Lanes of the logs here.
pub const LANES: u32 = 4;

/// Where hosts are now; one that is gone keeps its last address.
pub type Addresses = Arc<Mutex<Vec<SocketAddr>>>;
