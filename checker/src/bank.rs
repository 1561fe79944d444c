//! The bank's rules, written down a second time: what `examples/bank-account` must decide, and what its events make.
//!
//! Decisions are predicted as hashes of the events or the rejection, states are folded from the log's own events.

use serde::Deserialize;

use crate::canonical::{Canonical, NULL, Tagged, whole_messagepack};

/// The aggregate type these rules are for.
pub const TYPE: &str = "account";
/// Largest amount and largest balance, in cents.
const AMOUNT_MAX: i64 = 100_000_000_000_000;

/// Cents that a withdrawal costs under [`Rules::Fee`].
const FEE: i64 = 100;

/// Which withdrawal rule a module has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rules {
    /// An account may be overdrawn up to its limit.
    Overdraft,
    /// No account may be overdrawn, whatever its limit.
    NoOverdraft,
    /// As [`Rules::Overdraft`], and every withdrawal costs a fee, which leaves the account with it.
    Fee,
}

impl Rules {
    /// The rules by their name in a history: `v1`, `v2-fee`, `v2-no-overdraft`, `v3` (the rules of `v1`).
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "v1" | "v3" => Some(Self::Overdraft),
            "v2-no-overdraft" => Some(Self::NoOverdraft),
            "v2-fee" => Some(Self::Fee),
            _ => None,
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
            Command::Withdraw { amount } => {
                let fee = if rules == Rules::Fee { FEE } else { 0 };
                if let Some(refused) = self.withdrawal_refused(amount, fee, rules) {
                    return refused;
                }
                let fields = [("amount", number(amount + fee)), ("fee", number(fee))];
                let shown = if rules == Rules::Fee { &fields[..] } else { &fields[..1] };
                (tagged("Withdrawn", shown), -amount - fee)
            }
            Command::Rename { owner } => (tagged("Renamed", &[("owner", owner)]), 0),
            Command::Close {} => (tagged("Closed", &[]), 0),
        };
        Verdict::Accept { event, moves }
    }

    /// Why `amount` and the fee cannot be withdrawn.
    fn withdrawal_refused(&self, amount: i64, fee: i64, rules: Rules) -> Option<Verdict> {
        if !(1..=AMOUNT_MAX - fee).contains(&amount) {
            return Some(no("AmountOutOfRange"));
        }
        let requested = amount + fee;
        let limit = match rules {
            _ if requested > self.balance + self.limit => self.limit,
            Rules::NoOverdraft if requested > self.balance => 0,
            _ => return None,
        };
        let details = [("balance", self.balance), ("limit", limit), ("requested", requested)];
        let inside = Canonical::map(details.map(|(name, cents)| (name, Canonical::integer(cents))));
        Some(Verdict::Reject(Tagged { name: "InsufficientFunds".to_owned(), inside }))
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
