//! The state also counts deposits and withdrawals. The rules and the events are those of the first version, but its
//! snapshots do not fit any more: [`Account::STATE_VERSION`] says so, and states are built anew from the events.

use crate::{Command, Event, Rejection, Status};
use ordain_sdk::prelude::*;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    pub owner: String,
    pub balance: i64,
    pub overdraft_limit: i64,
    pub status: Status,
    pub deposits: u64,
    pub withdrawals: u64,
}

impl Decider for Account {
    const TYPE: &'static str = crate::Account::TYPE;
    const STATE_VERSION: u32 = 2;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, context: &Context) -> Result<Vec<Event>, Rejection> {
        // The rules do not look at the owner, so the name need not be copied.
        let Self { balance, overdraft_limit, status, .. } = *self;
        crate::Account { owner: String::new(), balance, overdraft_limit, status }.decide(command, context)
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::Opened { owner, overdraft_limit } => {
                *self = Self { owner, overdraft_limit, status: Status::Open, ..Self::default() };
            }
            Event::Deposited { amount } => {
                self.balance += amount;
                self.deposits += 1;
            }
            Event::Withdrawn { amount } => {
                self.balance -= amount;
                self.withdrawals += 1;
            }
            Event::Renamed { owner } => self.owner = owner,
            Event::Closed {} => self.status = Status::Closed,
        }
    }

    fn samples() -> Vec<Command> {
        crate::Account::samples()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_events_are_counted() {
        let opened = Event::Opened { owner: "Ada".to_owned(), overdraft_limit: 500 };
        given::<Account>([opened, Event::Deposited { amount: 1_000 }, Event::Deposited { amount: 1 }])
            .when(Command::Withdraw { amount: 1_501 })
            .then([Event::Withdrawn { amount: 1_501 }])
            .then_state(|account| {
                assert_eq!((account.balance, account.deposits, account.withdrawals), (-500, 2, 1));
            })
            .when(Command::Withdraw { amount: 1 })
            .then_rejected(Rejection::InsufficientFunds { balance: -500, limit: 500, requested: 1 });
    }

    #[test]
    fn the_first_versions_snapshots_do_not_fit() {
        let mut snapshot = Vec::new();
        ordain_sdk::codec::encode_compact(&crate::Account::default(), &mut snapshot).unwrap();
        assert!(ordain_sdk::codec::decode_compact::<Account>(&snapshot).is_err());
    }
}
