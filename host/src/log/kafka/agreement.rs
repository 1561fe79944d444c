//! Whether the topics are still those of the layout, looked at now and then while a host runs (R3): a topic made anew, or
//! with more partitions, would have the same commands decided by other rules of who owns what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Host;
use crate::clock::Stopwatch;
use crate::log::{LogError, thread};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Longest wait before it is seen that it is to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// Looks that must find something wrong: a broker that just started may not know everything yet.
const LOOKS: u32 = 2;

/// A running look. Dropping it ends it.
#[derive(Debug)]
pub struct Agreement {
    ending: Arc<AtomicBool>,
}

impl Agreement {
    /// Begins to look. `tell` hears once what is wrong and what to do, and that is the last look.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if there can be no thread.
    pub(super) fn start(host: Arc<Host>, tell: impl FnOnce(String) + Send + 'static) -> Result<Self, LogError> {
        let ending = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ending);
        let work = move || {
            let mut wrong = 0_u32;
            while wait(&end) {
                match host.disagreement() {
                    Ok(None) => wrong = 0,
                    Ok(Some(_)) if wrong + 1 < LOOKS => wrong += 1,
                    Ok(Some(why)) => return tell(why),
                    // Nothing is known then, and commits tell by themselves.
                    Err(error) => tracing::debug!("the topics could not be looked at: {error}"),
                }
            }
        };
        thread::start("topics", work)?;
        Ok(Self { ending })
    }
}

/// Waits until it is time to look again; `false` if it is to end.
fn wait(ending: &AtomicBool) -> bool {
    let since = Stopwatch::start();
    while since.elapsed() < LOOK {
        if ending.load(Ordering::Acquire) {
            return false;
        }
        std::thread::park_timeout(PATIENCE);
    }
    true
}

impl Drop for Agreement {
    fn drop(&mut self) {
        // Not waited for: it may be asking brokers that do not answer.
        self.ending.store(true, Ordering::Release);
    }
}
