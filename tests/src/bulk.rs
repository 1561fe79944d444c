//! A client that streams commands, and after a kill goes on with what has no answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::watch;

use crate::client::stream::{Feed, Streaming};
use crate::clock;
use crate::witness::Witness;

/// How long it goes on trying while nothing is answered.
const PATIENCE: Duration = Duration::from_secs(120);

/// Streams a feed until everything in it has an outcome, over as many connections as it takes; tells `progress` how many
/// outcomes there are.
///
/// # Errors
/// If nothing is answered for too long.
pub async fn stream(
    mut feed: Feed,
    mut witness: Witness,
    address: watch::Receiver<SocketAddr>,
    in_flight: usize,
    progress: watch::Sender<u64>,
) -> anyhow::Result<Witness> {
    let mut latest = clock::now_ns();
    for stream in 0.. {
        let streaming = Streaming { address: *address.borrow(), stream, in_flight };
        let before = *progress.borrow();
        let ended = streaming.run(&mut feed, &mut witness, &mut |_| progress.send_modify(|heard| *heard += 1)).await;
        let Err(broken) = ended else { break };
        if *progress.borrow() > before {
            latest = clock::now_ns();
        }
        if clock::since(latest) > PATIENCE {
            bail!("nothing was answered for {} s: {broken}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    witness.flush()?;
    Ok(witness)
}
