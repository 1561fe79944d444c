//! The commands that every system is asked, by number: each number has one command, wherever and whenever it is made.

use std::io::Write;

/// Accounts: the first so many commands open one each.
pub const ACCOUNTS: u64 = 100_000;
/// Digits of a command's number, at the end of its id.
const DIGITS: usize = 12;

/// Key, value and id of a command, in buffers that stay.
#[derive(Debug, Default)]
pub struct Ask {
    /// The account.
    pub key: Vec<u8>,
    /// The command as JSON.
    pub value: Vec<u8>,
    /// As long as a UUID.
    pub id: Vec<u8>,
}

impl Ask {
    /// Makes command number `n`: an account is opened, or used: half deposits, four in ten withdrawals, one in ten renames.
    pub fn make(&mut self, n: u64) {
        let drawn = mixed(n);
        let account = if n < ACCOUNTS { n } else { drawn % ACCOUNTS };
        self.begin(n, account);
        let amount = 100 + (drawn >> 40) % 10_000;
        // Writing into memory cannot fail.
        let _written = match (n < ACCOUNTS, (drawn >> 32) % 10) {
            (true, _) => write!(self.value, "{{\"Open\":{{\"owner\":\"Ada Lovelace\",\"overdraft_limit\":10000}}}}"),
            (false, 0..5) => write!(self.value, "{{\"Deposit\":{{\"amount\":{amount}}}}}"),
            (false, 5..9) => write!(self.value, "{{\"Withdraw\":{{\"amount\":{amount}}}}}"),
            (false, _) => write!(self.value, "{{\"Rename\":{{\"owner\":\"Countess {amount}\"}}}}"),
        };
    }

    /// Makes command number `n` of an account with a value of the caller's.
    pub fn with(&mut self, n: u64, account: u64, value: &str) {
        self.begin(n, account);
        self.value.extend_from_slice(value.as_bytes());
    }

    fn begin(&mut self, n: u64, account: u64) {
        self.key.clear();
        self.value.clear();
        self.id.clear();
        // As above.
        let _written = write!(self.key, "acc-{account:07}");
        let _written = write!(self.id, "0198c0de-0000-7000-8000-{n:0DIGITS$}");
    }
}

/// The number of the command with this id.
pub fn number(id: &[u8]) -> Option<u64> {
    let digits = id.get(id.len().checked_sub(DIGITS)?..)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Numbers that look drawn (splitmix64, Steele et al. 2014).
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_command_and_its_id_tells_the_number() {
        let (mut one, mut other) = (Ask::default(), Ask::default());
        for n in [0, ACCOUNTS - 1, ACCOUNTS, 7_654_321] {
            one.make(n);
            other.make(n);
            assert_eq!((&one.key, &one.value, &one.id), (&other.key, &other.value, &other.id));
            assert_eq!((number(&one.id), one.id.len()), (Some(n), 36));
            serde_json::from_slice::<bank_account::Command>(&one.value).expect("a command of the bank");
        }
        assert_eq!(number(b"short"), None);
    }
}
