//! Each withdrawal costs a fee.
//!
//! `Withdrawn.amount` keeps its meaning, all that leaves the account, and the new field says which part of it is the
//! fee. So the first version, which skips fields it does not know, still gets every balance right after a way back;
//! and here an event without the field is one of before the fee.

use crate::{AMOUNT_MAX, Command, Event as First, Rejection, Status, in_range};
use ordain_sdk::prelude::*;

/// Cents per withdrawal.
pub const FEE: i64 = 100;

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    Opened {
        owner: String,
        overdraft_limit: i64,
    },
    Deposited {
        amount: i64,
    },
    /// `amount` is all that leaves the account; `fee` is the part of it that the customer did not get.
    Withdrawn {
        amount: i64,
        #[serde(default)]
        fee: i64,
    },
    Renamed {
        owner: String,
    },
    Closed {},
}

/// The first version's state, in the same layout.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Account(pub crate::Account);

impl Decider for Account {
    const TYPE: &'static str = crate::Account::TYPE;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, context: &Context) -> Result<Vec<Event>, Rejection> {
        let command = match command {
            Command::Withdraw { amount } if self.0.status == Status::Open => {
                in_range(amount, 1, AMOUNT_MAX - FEE)?;
                Command::Withdraw { amount: amount + FEE }
            }
            other => other,
        };
        let events = self.0.decide(command, context)?;
        Ok(events.into_iter().map(Event::from).collect())
    }

    fn evolve(&mut self, event: Event) {
        self.0.evolve(match event {
            Event::Opened { owner, overdraft_limit } => First::Opened { owner, overdraft_limit },
            Event::Deposited { amount } => First::Deposited { amount },
            Event::Withdrawn { amount, .. } => First::Withdrawn { amount },
            Event::Renamed { owner } => First::Renamed { owner },
            Event::Closed {} => First::Closed {},
        });
    }

    fn samples() -> Vec<Command> {
        crate::Account::samples()
    }
}

impl From<First> for Event {
    fn from(event: First) -> Self {
        match event {
            First::Opened { owner, overdraft_limit } => Self::Opened { owner, overdraft_limit },
            First::Deposited { amount } => Self::Deposited { amount },
            First::Withdrawn { amount } => Self::Withdrawn { amount, fee: FEE },
            First::Renamed { owner } => Self::Renamed { owner },
            First::Closed {} => Self::Closed {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_sdk::codec;

    fn opened() -> Event {
        Event::Opened { owner: "Ada".to_owned(), overdraft_limit: 0 }
    }

    #[test]
    fn a_withdrawal_costs_its_fee() {
        given::<Account>([opened(), Event::Deposited { amount: 1_000 }])
            .when(Command::Withdraw { amount: 500 })
            .then([Event::Withdrawn { amount: 600, fee: 100 }])
            .then_state(|account| assert_eq!(account.0.balance, 400))
            .when(Command::Withdraw { amount: 301 })
            .then_rejected(Rejection::InsufficientFunds { balance: 400, limit: 0, requested: 401 })
            .when(Command::Withdraw { amount: i64::MAX })
            .then_rejected(Rejection::AmountOutOfRange);
        given::<Account>([]).when(Command::Withdraw { amount: 0 }).then_rejected(Rejection::NotOpen);
    }

    #[test]
    fn either_version_reads_the_other_ones_events() {
        let (mut new, mut old) = (Vec::new(), Vec::new());
        codec::encode_named(&Event::Withdrawn { amount: 600, fee: 100 }, &mut new).unwrap();
        codec::encode_named(&First::Withdrawn { amount: 500 }, &mut old).unwrap();
        assert_eq!(codec::decode::<First>(&new).unwrap(), First::Withdrawn { amount: 600 });
        assert_eq!(codec::decode::<Event>(&old).unwrap(), Event::Withdrawn { amount: 500, fee: 0 });
    }
}
