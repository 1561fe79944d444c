//! A mark at the front of a module that says how long the file is and what follows: a file that is still being copied
//! can be valid Wasm by accident (cut between two sections), and with the mark it is never taken for the whole.
//!
//! It is a custom section, so a module with it is as good a module as without. `ordain build` attaches it.

use sha2::{Digest as _, Sha256};

use super::refused::{Refused, Rule};

/// Custom section, the first of all: `u64` length of the file, then the SHA-256 of all that follows the section.
pub const SECTION_SEAL: &str = "ordain.seal";
/// Magic number and version of Wasm.
const PREAMBLE: usize = 8;
/// Id and size, name with its length, content.
const BYTES: usize = 2 + 1 + SECTION_SEAL.len() + 8 + 32;

/// The module with a seal; one it had is replaced. What is no module is given back as it is.
pub fn attach(module: &[u8]) -> Vec<u8> {
    let Some((preamble, mut rest)) = module.split_at_checked(PREAMBLE) else { return module.to_vec() };
    if has_seal(rest) {
        rest = &rest[BYTES..];
    }
    let mut sealed = preamble.to_vec();
    sealed.extend_from_slice(&head());
    sealed.extend_from_slice(&((PREAMBLE + BYTES + rest.len()) as u64).to_le_bytes());
    sealed.extend_from_slice(&Sha256::digest(rest));
    sealed.extend_from_slice(rest);
    sealed
}

/// Whether a module has a seal, which then holds.
///
/// # Errors
/// [`Refused`] if it does not hold: the file is cut short, or was changed after it was built.
pub fn check(module: &[u8]) -> Result<bool, Refused> {
    let Some(after) = module.get(PREAMBLE..).filter(|rest| has_seal(rest)) else { return Ok(false) };
    let (seal, rest) = after.split_at(BYTES);
    let (length, hash) = seal[BYTES - 40..].split_at(8);
    let length = length.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    if length != module.len() as u64 {
        let message = format!("the file has {} bytes of {length}: it is cut short or still being copied", module.len());
        return Err(Refused::new(Rule::Invalid, message));
    }
    if Sha256::digest(rest)[..] != *hash {
        let message =
            "the file is not what its build wrote: it is damaged, or still being copied; build or copy it again";
        return Err(Refused::new(Rule::Invalid, message));
    }
    Ok(true)
}

fn has_seal(rest: &[u8]) -> bool {
    rest.len() >= BYTES && rest.starts_with(&head())
}

/// Id 0, size of what follows, the name with its length.
fn head() -> Vec<u8> {
    let mut head = vec![0, (BYTES - 2) as u8, SECTION_SEAL.len() as u8];
    head.extend_from_slice(SECTION_SEAL.as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decider::Limits;
    use crate::decider::gate;
    use crate::decider::testing::honest;

    #[test]
    fn no_part_of_a_sealed_module_passes_for_the_whole() {
        let plain = honest().bytes();
        let sealed = attach(&plain);
        assert_eq!(check(&plain), Ok(false));
        assert_eq!(check(&sealed), Ok(true));
        assert_eq!(attach(&sealed), sealed, "sealing twice is sealing once");
        assert!(gate::check(&sealed, &Limits::default()).is_ok());
        let mut valid_by_accident = 0;
        let whole = |bytes: &[u8]| gate::check(bytes, &Limits::default()).is_ok();
        for cut in 0..sealed.len() {
            assert!(!whole(&sealed[..cut]), "cut at {cut}");
            valid_by_accident += u32::from(cut < plain.len() && whole(&plain[..cut]));
        }
        for at in PREAMBLE + BYTES..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(check(&changed).is_err(), "changed at {at}");
        }
        assert!(valid_by_accident > 0, "else there is no need for a seal");
    }
}
