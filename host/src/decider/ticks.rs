//! The clock that cuts endless calls: a thread that lets the engine's epoch tick.
//!
//! It ticks every millisecond while calls are long enough to meet ticks, and rests at a slower pace else: an idle host
//! should not wake a thousand times a second. A call that begins while it rests is seen at the first slow tick, which
//! is added to its budget at worst.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// A tick while there are calls to cut.
const TICK: Duration = Duration::from_millis(1);
/// A tick else.
const RESTING_TICK: Duration = Duration::from_millis(8);
/// Ticks that meet no call before the clock rests.
const QUIET_TICKS: u32 = 100;

/// What calls tell the clock.
#[derive(Debug, Default)]
pub struct Ticks {
    /// A call met a tick since the last look.
    met: AtomicBool,
    resting: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticks {
    /// Starts the clock; it ends with the engine.
    ///
    /// # Errors
    /// The operating system has no thread for it.
    pub fn start(engine: &Engine) -> std::io::Result<Arc<Self>> {
        let ticks = Arc::new(Self::default());
        let (mine, engine) = (Arc::clone(&ticks), engine.weak());
        let run = move || {
            let mut quiet = 0_u32;
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                quiet = if mine.met.swap(false, Ordering::Relaxed) { 0 } else { quiet.saturating_add(1) };
                let rests = quiet >= QUIET_TICKS;
                mine.resting.store(rests, Ordering::Relaxed);
                thread::park_timeout(if rests { RESTING_TICK } else { TICK });
            }
        };
        let thread = thread::Builder::new().name("module clock".to_owned()).spawn(run)?;
        let _ = ticks.thread.set(thread.thread().clone()); // it is set nowhere else
        Ok(ticks)
    }

    /// A call met a tick: it is long enough that the next ones matter.
    pub fn met(&self) {
        self.met.store(true, Ordering::Relaxed);
        if self.resting.load(Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}
