//! A mistake, to see it cut off: never comes back from a withdrawal of exactly [`POISON_AMOUNT`] and decides
//! everything else.

use super::POISON_AMOUNT;
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
        match command {
            Command::Withdraw { amount: POISON_AMOUNT } => loop {
                std::hint::spin_loop();
            },
            other => self.0.decide(other, context),
        }
    }

    fn evolve(&mut self, event: Event) {
        self.0.evolve(event);
    }

    fn samples() -> Vec<Command> {
        crate::Account::samples()
    }
}
