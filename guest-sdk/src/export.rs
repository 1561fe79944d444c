//! How a module is reached from outside: its statics, the export macro, addresses of results.
//!
//! Invariant: nothing here is imported. A module that could ask anything of its surroundings would no longer be a
//! function of state, command and context.
#![allow(unsafe_code, reason = "`#[no_mangle]` and `#[link_section]` are unsafe attributes; there is no unsafe block")]

use crate::contract::{CONTRACT_VERSION, PANIC_BYTES_MAX};
use crate::decider::Decider;
use crate::log::LogBuffer;
use crate::runtime::{Calls, Runtime};
use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;

/// All that is mutable and static in the SDK, in one place: whatever else changes in a module's statics is hidden
/// state of the author's (or of the allocator). The parts are separate cells, because a panic can strike while the
/// runtime is at work.
pub struct Statics {
    /// Lines for the host.
    pub log: LogBuffer,
    panic: RefCell<PanicText>,
    runtime: RefCell<Option<Box<dyn Calls>>>,
}

thread_local! {
    // A Wasm module has one thread: there it is a plain static. Natively each test has its own.
    static STATICS: Statics = const {
        Statics { log: LogBuffer::new(), panic: RefCell::new(PanicText::new()), runtime: RefCell::new(None) }
    };
}

/// Hands out the SDK's statics.
pub fn with<R>(use_it: impl FnOnce(&Statics) -> R) -> R {
    STATICS.with(use_it)
}

/// Text of the last panic, cut at [`PANIC_BYTES_MAX`]; not on the heap, since the heap may be what ran out.
struct PanicText {
    bytes: [u8; PANIC_BYTES_MAX],
    length: usize,
}

impl PanicText {
    const fn new() -> Self {
        Self { bytes: [0; PANIC_BYTES_MAX], length: 0 }
    }

    fn set(&mut self, text: impl Display) {
        let mut room = &mut self.bytes[..];
        let _ = write!(room, "{text}"); // what does not fit is cut
        let mut length = PANIC_BYTES_MAX - room.len();
        // Never half a character.
        while std::str::from_utf8(&self.bytes[..length]).is_err() {
            length -= 1;
        }
        self.length = length;
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// `pointer << 32 | length`.
fn packed(bytes: &[u8]) -> u64 {
    ((bytes.as_ptr() as usize as u64) << 32) | bytes.len() as u64
}

/// `ordain_init`: sets up the runtime and makes panics readable.
pub fn init<D: Decider>() {
    std::panic::set_hook(Box::new(|panic| {
        with(|sdk| {
            if let Ok(mut text) = sdk.panic.try_borrow_mut() {
                text.set(panic);
            }
        });
    }));
    with(|sdk| *sdk.runtime.borrow_mut() = Some(Box::new(Runtime::<D>::new())));
}

/// Runs one call of the contract and packs its result.
///
/// # Panics
/// `ordain_init` was not called first.
pub fn call(run: impl FnOnce(&mut dyn Calls) -> &[u8]) -> u64 {
    with(|sdk| match sdk.runtime.borrow_mut().as_mut() {
        Some(runtime) => packed(run(runtime.as_mut())),
        None => panic!("ordain_init has to be called first"),
    })
}

/// `ordain_buf`: the buffer's address.
pub fn buffer(bytes: u32) -> u32 {
    (call(|runtime| runtime.buffer(bytes as usize)) >> 32) as u32
}

/// `ordain_drop`.
pub fn drop_slot(slot: u32) {
    call(|runtime| {
        runtime.drop_slot(slot as usize);
        &[]
    });
}

/// `ordain_log`.
pub fn log() -> u64 {
    with(|sdk| sdk.log.take(packed))
}

/// `ordain_panic`: usable after a trap, when the runtime is in no state to be used.
pub fn panic_text() -> u64 {
    with(|sdk| sdk.panic.try_borrow().map_or(0, |text| packed(text.text())))
}

/// Length of [`CONTRACT_SECTION`].
pub const CONTRACT_SECTION_BYTES: usize = 4 + crate::VERSION.len();

/// Content of [`crate::contract::SECTION_CONTRACT`].
pub const CONTRACT_SECTION: [u8; CONTRACT_SECTION_BYTES] = {
    let (contract, sdk) = (CONTRACT_VERSION.to_le_bytes(), crate::VERSION.as_bytes());
    let mut section = [0; CONTRACT_SECTION_BYTES];
    let mut at = 0;
    while at < CONTRACT_SECTION_BYTES {
        section[at] = if at < 4 { contract[at] } else { sdk[at - 4] };
        at += 1;
    }
    section
};

/// Holds only if `D` is a decider: what the macro checks on every target.
pub const fn is_decider<D: Decider>() {}

/// Makes a module of the crate: `ordain_sdk::export!(Account);`, once, with the type that implements
/// [`Decider`](crate::Decider). Natively it only checks that the type does.
#[macro_export]
macro_rules! export {
    ($decider:ty) => {
        const _: () = $crate::export::is_decider::<$decider>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::export as sdk;

            #[used]
            #[unsafe(link_section = "ordain.contract")]
            static CONTRACT: [u8; sdk::CONTRACT_SECTION_BYTES] = sdk::CONTRACT_SECTION;

            #[unsafe(no_mangle)]
            extern "C" fn ordain_init() {
                sdk::init::<$decider>();
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_describe() -> u64 {
                sdk::call(|runtime| runtime.describe())
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_buf(bytes: u32) -> u32 {
                sdk::buffer(bytes)
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_load(slot: u32, bytes: u32) -> u64 {
                sdk::call(|runtime| runtime.load(slot as usize, bytes as usize))
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_decide(slot: u32, context: u32, command: u32) -> u64 {
                sdk::call(|runtime| runtime.decide(slot as usize, context as usize, command as usize))
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_fold(slot: u32, bytes: u32) -> u64 {
                sdk::call(|runtime| runtime.fold(slot as usize, bytes as usize))
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_snapshot(slot: u32, form: u32) -> u64 {
                sdk::call(|runtime| runtime.snapshot(slot as usize, form))
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_drop(slot: u32) {
                sdk::drop_slot(slot);
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_log() -> u64 {
                sdk::log()
            }
            #[unsafe(no_mangle)]
            extern "C" fn ordain_panic() -> u64 {
                sdk::panic_text()
            }
            $crate::__export_schemas!();
        };
    };
}

/// The export that only a build with the SDK's own `schemas` feature has: a `cfg` in [`export!`] would look at the
/// author's features, so the feature picks between two macros instead.
#[cfg(feature = "schemas")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_schemas {
    () => {
        #[unsafe(no_mangle)]
        extern "C" fn ordain_schemas() -> u64 {
            sdk::call(|runtime| runtime.schemas())
        }
    };
}

/// See the other one.
#[cfg(not(feature = "schemas"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_schemas {
    () => {};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_text_is_cut_between_characters() {
        let mut text = PanicText::new();
        text.set("short");
        assert_eq!(text.text(), b"short");
        text.set(format_args!("x{}", "é".repeat(PANIC_BYTES_MAX)));
        let kept = std::str::from_utf8(text.text()).unwrap();
        assert!(kept.ends_with('é') && kept.len() >= PANIC_BYTES_MAX - 1);
    }

    #[test]
    fn the_contract_section_holds_contract_and_sdk_version() {
        assert_eq!(CONTRACT_SECTION[..4], CONTRACT_VERSION.to_le_bytes());
        assert_eq!(&CONTRACT_SECTION[4..], crate::VERSION.as_bytes());
    }
}
