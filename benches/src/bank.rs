//! Commands for bank accounts, made before the time is taken.

use bank_account::Command as Ask;
use ordain::json::body_hash;
use ordain::message::{AggregateId, AggregateType, Command, CommandId, partition_of};

/// Partitions of every host here: the default.
pub const PARTITIONS: u32 = 16;

/// Makes commands.
pub struct Bank {
    of: AggregateType,
    open: Body,
    deposit: Body,
    numbered: u64,
    random: u64,
}

struct Body {
    bytes: Box<[u8]>,
    hash: u64,
}

impl Body {
    fn of(command: &Ask) -> anyhow::Result<Self> {
        let bytes = rmp_serde::to_vec_named(command)?;
        Ok(Self { hash: body_hash(&bytes), bytes: bytes.into() })
    }
}

impl Bank {
    /// One whose commands have other ids than those of a bank with another `seed`.
    ///
    /// # Errors
    /// If the example's words are not valid.
    pub fn new(seed: u64) -> anyhow::Result<Self> {
        Ok(Self {
            of: AggregateType::parse("account")?,
            open: Body::of(&Ask::Open { owner: "Ada Lovelace".to_owned(), overdraft_limit: 10_000 })?,
            deposit: Body::of(&Ask::Deposit { amount: 500 })?,
            numbered: seed << 32,
            random: seed.wrapping_mul(2) + 1,
        })
    }

    /// Opens accounts `from..to`.
    pub fn opens(&mut self, from: u64, to: u64) -> Vec<Command> {
        (from..to).map(|account| self.command(account, true)).collect()
    }

    /// Deposits into accounts drawn from `0..accounts`.
    pub fn deposits(&mut self, accounts: u64, count: u64) -> Vec<Command> {
        (0..count)
            .map(|_| {
                let account = self.draw(accounts);
                self.command(account, false)
            })
            .collect()
    }

    /// Deposits into accounts `from..to`, one after the other, so often.
    pub fn rounds_of_deposits(&mut self, from: u64, to: u64, rounds: u64) -> Vec<Command> {
        (0..rounds).flat_map(|_| from..to).map(|account| self.command(account, false)).collect()
    }

    /// The next number below `bound` (xorshift64*, Vigna 2016).
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        ((u128::from(self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(bound)) >> 64) as u64
    }

    fn command(&mut self, account: u64, open: bool) -> Command {
        let body = if open { &self.open } else { &self.deposit };
        self.numbered += 1;
        let id = format!("acc-{account:07}");
        Command {
            partition: partition_of(&id, PARTITIONS),
            aggregate_type: self.of.clone(),
            aggregate_id: AggregateId::parse(&id).expect("letters and digits"),
            // As long as the UUIDs that the host makes.
            command_id: CommandId::parse(&format!("{:036x}", self.numbered)).expect("letters and digits"),
            expected_version: None,
            time_ms: ordain::clock::now_ms(),
            correlation_id: "".into(),
            traceparent: "".into(),
            metadata: [].into(),
            body: body.bytes.clone(),
            offset: None,
            defect: None,
            body_hash: body.hash,
        }
    }
}
