//! An account that keeps a ring of its last bookings: how long the ring is decides how many bytes the state has, and a
//! decision touches the same part of it at every length.
#![allow(missing_docs, reason = "the names say it; this file is read as a whole")]

use std::collections::VecDeque;

use ordain_sdk::prelude::*;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    pub owner: String,
    pub iban: String,
    pub currency: String,
    pub branch: String,
    pub balance: i64,
    pub reserved: i64,
    pub overdraft_limit: i64,
    pub opened_at: i64,
    pub last_at: i64,
    pub deposits: u64,
    pub withdrawals: u64,
    pub open: bool,
    /// Bookings kept.
    pub ring: u32,
    pub bookings: VecDeque<Booking>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Booking {
    pub at: i64,
    pub amount: i64,
    pub balance: i64,
    pub memo: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub enum Command {
    /// The account begins with a full ring of `ring` bookings.
    Open {
        owner: String,
        ring: u32,
    },
    Deposit {
        amount: i64,
        memo: String,
    },
    Withdraw {
        amount: i64,
        memo: String,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    Opened { owner: String, ring: u32, at: i64 },
    Deposited { amount: i64, at: i64, memo: String },
    Withdrawn { amount: i64, at: i64, memo: String },
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub enum Rejection {
    AlreadyOpen,
    NotOpen,
    AmountOutOfRange,
    InsufficientFunds { balance: i64, requested: i64 },
}

impl Decider for Ledger {
    const TYPE: &'static str = "ledger";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, context: &Context) -> Result<Vec<Event>, Rejection> {
        let at = context.time_ms;
        Ok(vec![match command {
            Command::Open { .. } if self.open => return Err(Rejection::AlreadyOpen),
            Command::Open { owner, ring } => Event::Opened { owner, ring, at },
            _ if !self.open => return Err(Rejection::NotOpen),
            Command::Deposit { amount, .. } | Command::Withdraw { amount, .. } if amount <= 0 => {
                return Err(Rejection::AmountOutOfRange);
            }
            Command::Deposit { amount, memo } => Event::Deposited { amount, at, memo },
            Command::Withdraw { amount, .. } if amount > self.balance - self.reserved + self.overdraft_limit => {
                return Err(Rejection::InsufficientFunds { balance: self.balance, requested: amount });
            }
            Command::Withdraw { amount, memo } => Event::Withdrawn { amount, at, memo },
        }])
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::Opened { owner, ring, at } => {
                let first = |_| Booking { at, amount: 100, balance: 0, memo: "carried over".to_owned() };
                *self = Self {
                    owner,
                    iban: "DE02120300000000202051".to_owned(),
                    currency: "EUR".to_owned(),
                    branch: "Hauptstelle".to_owned(),
                    overdraft_limit: 1_000_000,
                    opened_at: at,
                    last_at: at,
                    open: true,
                    ring,
                    bookings: (0..ring).map(first).collect(),
                    ..Self::default()
                };
            }
            Event::Deposited { amount, at, memo } => {
                self.deposits += 1;
                self.book(amount, at, memo);
            }
            Event::Withdrawn { amount, at, memo } => {
                self.withdrawals += 1;
                self.book(-amount, at, memo);
            }
        }
    }

    fn samples() -> Vec<Command> {
        let memo = || "rent".to_owned();
        vec![
            Command::Open { owner: "Ada".to_owned(), ring: 4 },
            Command::Deposit { amount: 10_000, memo: memo() },
            Command::Withdraw { amount: 2_500, memo: memo() },
        ]
    }
}

impl Ledger {
    fn book(&mut self, amount: i64, at: i64, memo: String) {
        self.balance += amount;
        self.last_at = at;
        while self.bookings.len() >= self.ring.max(1) as usize {
            self.bookings.pop_front();
        }
        self.bookings.push_back(Booking { at, amount, balance: self.balance, memo });
    }
}

ordain_sdk::export!(Ledger);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_its_length() {
        let opened = || Event::Opened { owner: "Ada".to_owned(), ring: 2, at: 1 };
        given::<Ledger>([opened()])
            .at(9)
            .when(Command::Deposit { amount: 5, memo: "x".to_owned() })
            .then([Event::Deposited { amount: 5, at: 9, memo: "x".to_owned() }]);
        let mut ledger = Ledger::default();
        ledger.evolve(opened());
        for at in 2..9 {
            ledger.evolve(Event::Deposited { amount: 5, at, memo: String::new() });
            assert_eq!(ledger.bookings.len(), 2);
        }
        assert_eq!(ledger.balance, 35);
    }

    #[test]
    fn a_withdrawal_needs_funds() {
        given::<Ledger>([])
            .when(Command::Withdraw { amount: 5, memo: String::new() })
            .then_rejected(Rejection::NotOpen);
    }
}
