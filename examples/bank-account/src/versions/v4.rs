//! A mistake, to see it caught: deposits record where they were made, and the new field has no default. Every deposit
//! recorded before cannot be read any more, so no account that has one can be built from its events.

use crate::{Command, Event as First, Rejection};
use ordain_sdk::prelude::*;

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    Opened {
        owner: String,
        overdraft_limit: i64,
    },
    /// The mistake: `branch` needs a `#[serde(default)]`.
    Deposited {
        amount: i64,
        branch: String,
    },
    Withdrawn {
        amount: i64,
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
        let events = self.0.decide(command, context)?;
        Ok(events.into_iter().map(Event::from).collect())
    }

    fn evolve(&mut self, event: Event) {
        self.0.evolve(match event {
            Event::Opened { owner, overdraft_limit } => First::Opened { owner, overdraft_limit },
            Event::Deposited { amount, .. } => First::Deposited { amount },
            Event::Withdrawn { amount } => First::Withdrawn { amount },
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
            First::Deposited { amount } => Self::Deposited { amount, branch: "main".to_owned() },
            First::Withdrawn { amount } => Self::Withdrawn { amount },
            First::Renamed { owner } => Self::Renamed { owner },
            First::Closed {} => Self::Closed {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_sdk::codec;

    #[test]
    fn it_lives_with_its_own_events() {
        let opened = Event::Opened { owner: "Ada".to_owned(), overdraft_limit: 0 };
        given::<Account>([opened])
            .when(Command::Deposit { amount: 5 })
            .then([Event::Deposited { amount: 5, branch: "main".to_owned() }])
            .then_state(|account| assert_eq!(account.0.balance, 5));
    }

    #[test]
    fn it_cannot_read_the_deposits_of_before() {
        let mut old = Vec::new();
        codec::encode_named(&First::Deposited { amount: 5 }, &mut old).unwrap();
        let error = codec::decode::<Event>(&old).unwrap_err();
        assert_eq!(error.to_string(), "missing field `branch`");
    }
}
