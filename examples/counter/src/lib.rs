//! A counter that never goes above its limit: the smallest module there is.
#![allow(missing_docs, reason = "the names say it; this file is read as a whole")]

use ordain_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    pub value: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub enum Command {
    Add { amount: u32 },
    Reset {},
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    Added { amount: u32 },
    Reset {},
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub enum Rejection {
    TooMuch { value: u32, limit: u32 },
}

const LIMIT: u32 = 100;

impl Decider for Counter {
    const TYPE: &'static str = "counter";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Add { amount } if amount > LIMIT - self.value => {
                Err(Rejection::TooMuch { value: self.value, limit: LIMIT })
            }
            Command::Add { amount } => Ok(vec![Event::Added { amount }]),
            Command::Reset {} => Ok(vec![Event::Reset {}]),
        }
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::Added { amount } => self.value += amount,
            Event::Reset {} => self.value = 0,
        }
    }

    fn samples() -> Vec<Command> {
        vec![Command::Add { amount: 1 }, Command::Reset {}]
    }
}
ordain_sdk::export!(Counter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        given::<Counter>([Event::Added { amount: 2 }])
            .when(Command::Add { amount: 3 })
            .then([Event::Added { amount: 3 }])
            .then_state(|state| assert_eq!(state.value, 5));
    }

    #[test]
    fn stops_at_the_limit() {
        given::<Counter>([Event::Added { amount: 99 }])
            .when(Command::Add { amount: 2 })
            .then_rejected(Rejection::TooMuch { value: 99, limit: 100 });
    }

    #[test]
    fn starts_again() {
        given::<Counter>([Event::Added { amount: 99 }])
            .when(Command::Reset {})
            .then([Event::Reset {}])
            .when(Command::Add { amount: 2 })
            .then([Event::Added { amount: 2 }]);
    }
}
