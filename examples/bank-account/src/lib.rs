//! A bank account: opened, used, closed for good. Amounts are integers in cents.
//!
//! This file is the first version; [`versions`] has others to swap for it while it runs.
#![allow(missing_docs, reason = "the names say it; this file is read as a whole")]

use ordain_sdk::prelude::*;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    None,
    Open,
    Closed,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    pub owner: String,
    pub balance: i64,
    pub overdraft_limit: i64,
    pub status: Status,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub enum Command {
    Open { owner: String, overdraft_limit: i64 },
    Deposit { amount: i64 },
    Withdraw { amount: i64 },
    Rename { owner: String },
    Close {},
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    Opened {
        owner: String,
        overdraft_limit: i64,
    },
    Deposited {
        amount: i64,
    },
    /// `amount` is all that leaves the account.
    Withdrawn {
        amount: i64,
    },
    Renamed {
        owner: String,
    },
    Closed {},
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Rejection {
    AlreadyOpen,
    NotOpen,
    Closed,
    InsufficientFunds { balance: i64, limit: i64, requested: i64 },
    AmountOutOfRange,
}

/// The largest amount and the largest balance: a trillion.
pub const AMOUNT_MAX: i64 = 100_000_000_000_000;

impl Decider for Account {
    const TYPE: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Rejection> {
        match (self.status, &command) {
            (Status::Closed, _) => return Err(Rejection::Closed),
            (Status::Open, Command::Open { .. }) => return Err(Rejection::AlreadyOpen),
            (Status::None, Command::Open { .. }) | (Status::Open, _) => {}
            (Status::None, _) => return Err(Rejection::NotOpen),
        }
        Ok(vec![match command {
            Command::Open { owner, overdraft_limit } => {
                in_range(overdraft_limit, 0, AMOUNT_MAX)?;
                Event::Opened { owner, overdraft_limit }
            }
            Command::Deposit { amount } => {
                in_range(amount, 1, AMOUNT_MAX - self.balance)?;
                Event::Deposited { amount }
            }
            Command::Withdraw { amount } => {
                in_range(amount, 1, AMOUNT_MAX)?;
                let (balance, limit) = (self.balance, self.overdraft_limit);
                if amount > balance + limit {
                    return Err(Rejection::InsufficientFunds { balance, limit, requested: amount });
                }
                Event::Withdrawn { amount }
            }
            Command::Rename { owner } => Event::Renamed { owner },
            Command::Close {} => Event::Closed {},
        }])
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::Opened { owner, overdraft_limit } => {
                *self = Self { owner, overdraft_limit, balance: 0, status: Status::Open };
            }
            Event::Deposited { amount } => self.balance += amount,
            Event::Withdrawn { amount } => self.balance -= amount,
            Event::Renamed { owner } => self.owner = owner,
            Event::Closed {} => self.status = Status::Closed,
        }
    }

    fn samples() -> Vec<Command> {
        let open = Command::Open { owner: "Ada".to_owned(), overdraft_limit: 5_000 };
        vec![open, Command::Deposit { amount: 10_000 }, Command::Withdraw { amount: 2_500 }, Command::Close {}]
    }
}

fn in_range(amount: i64, min: i64, max: i64) -> Result<(), Rejection> {
    if (min..=max).contains(&amount) { Ok(()) } else { Err(Rejection::AmountOutOfRange) }
}

#[cfg(not(feature = "other-version"))]
ordain_sdk::export!(Account);

pub mod versions;

#[cfg(test)]
mod tests;
