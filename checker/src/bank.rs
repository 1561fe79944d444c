//! The bank's rules, written down a second time: what `examples/bank-account` must decide, and what its events make.
//!
//! Decisions are predicted as hashes of the events or the rejection, states are folded from the log's own events.

use serde::Deserialize;

use crate::canonical::{Canonical, NULL, Tagged, whole_messagepack};

/// The aggregate type these rules are for.
pub const TYPE: &str = "account";
/// Largest amount and largest balance, in cents.
const AMOUNT_MAX: i64 = 100_000_000_000_000;

/// Which version of the withdrawal rule a module has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rules {
    /// An account may be overdrawn up to its limit.
    Overdraft,
    /// No account may be overdrawn, whatever its limit.
    NoOverdraft,
    /// As [`Rules::Overdraft`], and every withdrawal costs so many cents, which leave the account with it.
    Fee(i64),
}

impl Rules {
    /// The rules by their name in a history: `v1`, `v2`, or `fee=CENTS`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "v1" => Some(Self::Overdraft),
            "v2" => Some(Self::NoOverdraft),
            other => other.strip_prefix("fee=")?.parse().ok().map(Self::Fee),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    None,
    Open,
    Closed,
}

/// One account, as its events made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    status: Status,
    owner: Canonical,
    balance: i64,
    limit: i64,
}

impl Default for Account {
    fn default() -> Self {
        Self { status: Status::None, owner: Canonical::text(""), balance: 0, limit: 0 }
    }
}

/// A command, as far as the rules look at it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Command {
    /// Opens the account.
    Open {
        /// Whose it is.
        owner: Canonical,
        /// How far it may be overdrawn.
        overdraft_limit: i64,
    },
    /// Pays in.
    Deposit {
        /// Cents.
        amount: i64,
    },
    /// Pays out.
    Withdraw {
        /// Cents.
        amount: i64,
    },
    /// Gives it another owner.
    Rename {
        /// The new one.
        owner: Canonical,
    },
    /// Ends it for good.
    Close {},
}

#[derive(Debug, Deserialize)]
enum Event {
    Opened { owner: Canonical, overdraft_limit: i64 },
    Deposited { amount: i64 },
    Withdrawn { amount: i64 },
    Renamed { owner: Canonical },
    Closed {},
}

/// What the rules say to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Exactly this event, which moves so many cents into the account.
    Accept {
        /// Hash of the event.
        event: Canonical,
        /// Cents in; negative for cents out.
        moves: i64,
    },
    /// This rejection.
    Reject(Tagged),
}

/// An event that the state it met does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// A change of owner after the account was closed.
    RenamedAfterClosed,
    /// Any other.
    Other,
}

/// The command in a log entry.
///
/// # Errors
/// If it is none of the bank's.
pub fn command(body: &[u8]) -> Result<Command, String> {
    whole_messagepack(body)
}

fn tagged(name: &'static str, fields: &[(&'static str, Canonical)]) -> Canonical {
    Canonical::map([(name, Canonical::map(fields.iter().copied()))])
}

fn no(name: &str) -> Verdict {
    Verdict::Reject(Tagged { name: name.to_owned(), inside: NULL })
}

impl Account {
    /// What the rules say to a command in this state.
    pub fn decide(&self, command: &Command, rules: Rules) -> Verdict {
        match self.status {
            Status::Closed => return no("Closed"),
            Status::None if !matches!(command, Command::Open { .. }) => return no("NotOpen"),
            Status::Open if matches!(command, Command::Open { .. }) => return no("AlreadyOpen"),
            Status::None | Status::Open => {}
        }
        let number = Canonical::integer;
        let (event, moves) = match *command {
            Command::Open { overdraft_limit, .. } if !(0..=AMOUNT_MAX).contains(&overdraft_limit) => {
                return no("AmountOutOfRange");
            }
            Command::Open { owner, overdraft_limit } => {
                (tagged("Opened", &[("owner", owner), ("overdraft_limit", number(overdraft_limit))]), 0)
            }
            Command::Deposit { amount } if amount < 1 || amount > AMOUNT_MAX - self.balance => {
                return no("AmountOutOfRange");
            }
            Command::Deposit { amount } => (tagged("Deposited", &[("amount", number(amount))]), amount),
            Command::Withdraw { amount } => match self.withdrawal(amount, rules) {
                Ok(leaves) => (tagged("Withdrawn", &[("amount", number(leaves))]), -leaves),
                Err(refused) => return refused,
            },
            Command::Rename { owner } => (tagged("Renamed", &[("owner", owner)]), 0),
            Command::Close {} => (tagged("Closed", &[]), 0),
        };
        Verdict::Accept { event, moves }
    }

    /// What leaves the account when `amount` is withdrawn.
    fn withdrawal(&self, amount: i64, rules: Rules) -> Result<i64, Verdict> {
        if !(1..=AMOUNT_MAX).contains(&amount) {
            return Err(no("AmountOutOfRange"));
        }
        let (limit, fee) = match rules {
            Rules::Overdraft => (self.limit, 0),
            Rules::NoOverdraft => (0, 0),
            Rules::Fee(fee) => (self.limit, fee),
        };
        let leaves = amount + fee;
        if leaves <= self.balance + limit {
            return Ok(leaves);
        }
        let details = [("balance", self.balance), ("limit", limit), ("requested", leaves)];
        let inside = Canonical::map(details.map(|(name, cents)| (name, Canonical::integer(cents))));
        Err(Verdict::Reject(Tagged { name: "InsufficientFunds".to_owned(), inside }))
    }

    /// Folds one event of the log and returns the cents it moved.
    ///
    /// # Errors
    /// The event is none of the bank's (`Err(None)`), or not allowed here; it is folded all the same.
    pub fn evolve(&mut self, event: &[u8]) -> Result<i64, Option<Forbidden>> {
        let event: Event = whole_messagepack(event).map_err(|_| None)?;
        let before = *self;
        let forbidden = match (self.status, &event) {
            (Status::Closed, Event::Renamed { .. }) => Some(Forbidden::RenamedAfterClosed),
            (Status::Closed, _) | (Status::Open, Event::Opened { .. }) => Some(Forbidden::Other),
            (Status::None, Event::Opened { .. }) | (Status::Open, _) => None,
            (Status::None, _) => Some(Forbidden::Other),
        };
        match event {
            Event::Opened { owner, overdraft_limit } => {
                *self = Self { status: Status::Open, owner, balance: 0, limit: overdraft_limit };
            }
            Event::Deposited { amount } => self.balance = self.balance.saturating_add(amount),
            Event::Withdrawn { amount } => self.balance = self.balance.saturating_sub(amount),
            Event::Renamed { owner } => self.owner = owner,
            Event::Closed {} => self.status = Status::Closed,
        }
        match forbidden {
            Some(_) => Err(forbidden),
            None => Ok(self.balance.saturating_sub(before.balance)),
        }
    }

    /// Cents in the account.
    pub fn balance(&self) -> i64 {
        self.balance
    }

    /// Hash of the state as clients read it.
    pub fn state(&self) -> Canonical {
        let status = match self.status {
            Status::None => "none",
            Status::Open => "open",
            Status::Closed => "closed",
        };
        Canonical::map([
            ("owner", self.owner),
            ("balance", Canonical::integer(self.balance)),
            ("overdraft_limit", Canonical::integer(self.limit)),
            ("status", Canonical::text(status)),
        ])
    }
}
