//! A withdrawal may not use the overdraft limit any more. Who is below zero already stays there and can only deposit.

use crate::{Command, Event, Rejection};
use ordain_sdk::prelude::*;

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
        let balance = self.0.balance;
        match events[..] {
            [Event::Withdrawn { amount }] if amount > balance => {
                Err(Rejection::InsufficientFunds { balance, limit: 0, requested: amount })
            }
            _ => Ok(events),
        }
    }

    fn evolve(&mut self, event: Event) {
        self.0.evolve(event);
    }

    fn samples() -> Vec<Command> {
        crate::Account::samples()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overdraft_is_gone() {
        let opened = Event::Opened { owner: "Ada".to_owned(), overdraft_limit: 500 };
        given::<Account>([opened, Event::Deposited { amount: 1_000 }])
            .when(Command::Withdraw { amount: 1_001 })
            .then_rejected(Rejection::InsufficientFunds { balance: 1_000, limit: 0, requested: 1_001 })
            .when(Command::Withdraw { amount: 1_000 })
            .then([Event::Withdrawn { amount: 1_000 }]);
    }
}
