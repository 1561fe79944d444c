//! What librdkafka says by itself, on its way into the process's log: its own way is standard error.
#![allow(unsafe_code, reason = "librdkafka calls back with C strings; every pointer stays in this file")]

use std::ffi::{CStr, c_char, c_int};

use rdkafka::bindings as sys;
use rdkafka::config::RDKafkaLogLevel as Level;

/// Lets a client that will be made of `conf` say what it says here.
///
/// # Safety
/// `conf` is a configuration that no client was made of yet.
pub unsafe fn redirect(conf: *mut sys::rd_kafka_conf_t) {
    // SAFETY: as the caller promises; the function lives for ever.
    unsafe { sys::rd_kafka_conf_set_log_cb(conf, Some(on_log)) };
}

unsafe extern "C" fn on_log(rk: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, text: *const c_char) {
    let read = |pointer: *const c_char| {
        // SAFETY: librdkafka gives null, or a text that lives during the call.
        if pointer.is_null() { Default::default() } else { unsafe { CStr::from_ptr(pointer) }.to_string_lossy() }
    };
    // SAFETY: null, or a client that lives during the call; its name lives as long.
    let client = if rk.is_null() { std::ptr::null() } else { unsafe { sys::rd_kafka_name(rk) } };
    say(&read(client), level_of(level), &read(facility), &read(text));
}

/// The levels of syslog, as librdkafka uses them.
fn level_of(level: c_int) -> Level {
    match level {
        ..=0 => Level::Emerg,
        1 => Level::Alert,
        2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 => Level::Notice,
        6 => Level::Info,
        _ => Level::Debug,
    }
}

/// Says it at the level that it has for us: what librdkafka calls an error it tries again by itself, what it calls an alert is
/// mostly a fence, by which lanes change hands, and what it cannot deal with comes back from the call that failed.
pub fn say(client: &str, level: Level, facility: &str, text: &str) {
    // The name of its thread in front is of no use to anybody.
    let text = text.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map_or(text, |(_, rest)| rest);
    match level {
        Level::Emerg | Level::Critical => tracing::error!(target: "ordain::librdkafka", client, facility, "{text}"),
        Level::Alert | Level::Error | Level::Warning => {
            tracing::warn!(target: "ordain::librdkafka", client, facility, "{text}");
        }
        Level::Notice | Level::Info => tracing::info!(target: "ordain::librdkafka", client, facility, "{text}"),
        Level::Debug => tracing::debug!(target: "ordain::librdkafka", client, facility, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_it_says_has_a_level_and_no_name_of_a_thread() {
        let heard = Heard::default();
        let to = heard.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE);
        let log = log.with_writer(move || to.clone()).finish();
        tracing::subscriber::with_default(log, || {
            let call = |level, text: &CStr| {
                // SAFETY: a client may be null, and the texts live.
                unsafe { on_log(std::ptr::null(), level, c"FAIL".as_ptr(), text.as_ptr()) };
            };
            call(3, c"[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect failed");
            call(2, c"out of memory");
            call(7, c"[thrd:main]: a detail");
        });
        let heard = String::from_utf8(heard.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = heard.lines().collect();
        assert_eq!(lines.len(), 3, "{heard}");
        assert!(lines[0].contains("WARN") && lines[0].contains("127.0.0.1:1/bootstrap: Connect failed"), "{heard}");
        assert!(lines[1].contains("ERROR") && lines[2].contains("DEBUG"), "{heard}");
        assert!(lines[0].contains("FAIL") && !heard.contains("thrd"), "{heard}");
    }
}
