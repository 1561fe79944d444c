//! Threads that logs are made of.

use std::thread::{Builder, JoinHandle};

use super::LogError;

/// Starts one.
///
/// # Errors
/// [`LogError::Fatal`] if the system has none.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        LogError::Fatal(format!("cannot start the thread {name}: {error}. Raise the limit of threads of this process"))
    })
}

/// Tells somebody if the thread panics while it is there: nobody may wait for ever for what the thread would have done.
pub struct OnPanic<F: FnOnce(String)>(Option<F>);

impl<F: FnOnce(String)> OnPanic<F> {
    /// `tell` hears in words what is lost.
    pub fn tell(tell: F) -> Self {
        Self(Some(tell))
    }
}

impl<F: FnOnce(String)> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(tell) = self.0.take()
        {
            let name = std::thread::current().name().unwrap_or("of a log").to_owned();
            tell(format!("the thread {name} broke, for a reason that is above in the log: please report it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn who_waits_for_a_thread_hears_that_it_broke() {
        for breaks in [true, false] {
            let (tell, told) = sync_channel(1);
            let work = move || {
                let _guard = OnPanic::tell(move |why| drop(tell.send(why)));
                assert!(!breaks, "a planted panic");
            };
            start("planted", work).expect("starts").join().ok();
            assert_eq!(told.recv().is_ok_and(|why| why.contains("thread planted broke")), breaks);
        }
    }
}
