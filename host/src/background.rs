//! Threads whose work can wait: what decides, commits and answers goes first.

/// Steps of niceness: such a thread has about a quarter of the time that a thread has which serves (Linux gives ten per cent
/// more or less for each step). Less, and a state store that is written all the time falls behind on a machine that is full.
const NICE: i32 = 6;

/// From now on the calling thread takes what others leave. Without the right to do so it stays as it is.
pub fn give_way() {
    // On Linux a thread has a priority of its own, and its id is taken where a process is meant.
    let this = Some(rustix::thread::gettid());
    let lower = rustix::process::getpriority_process(this).map(|now| now.max(NICE));
    if let Err(error) = lower.and_then(|lower| rustix::process::setpriority_process(this, lower)) {
        tracing::debug!(%error, "a thread in the background stays at normal priority");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_gives_way_alone() {
        let own = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = own();
        let meanwhile = std::thread::spawn(move || {
            super::give_way();
            own()
        });
        assert_eq!(meanwhile.join().unwrap(), before.max(super::NICE));
        assert_eq!(own(), before, "other threads are as they were");
    }
}
