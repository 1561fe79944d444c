//! Somebody else with a transaction of their own on the log's topics.

use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Longest wait for one step.
const STEP: Duration = Duration::from_secs(30);

/// An open transaction.
pub struct Foreign {
    producer: BaseProducer,
}

impl Foreign {
    /// Begins a transaction and writes a record into a partition; it can be read once the transaction is committed, which
    /// it never is.
    ///
    /// # Errors
    /// If the broker does not want it.
    pub async fn begin(brokers: &str, topic: &str, partition: u32) -> anyhow::Result<Self> {
        let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
        let begun = move || {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .set("client.id", "foreign")
                .set("transactional.id", format!("foreign-{topic}-{partition}"))
                // Longer than any run: nobody but its owner ends it.
                .set("transaction.timeout.ms", "600000")
                .create()?;
            producer.init_transactions(STEP)?;
            producer.begin_transaction()?;
            let record = BaseRecord::to(&topic).partition(partition.cast_signed()).key("foreign").payload("{}");
            producer.send(record).map_err(|(error, _)| error)?;
            producer.flush(STEP)?;
            anyhow::Ok(Self { producer })
        };
        tokio::task::spawn_blocking(begun).await?.context("a foreign transaction")
    }

    /// Gives it up.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn abort(self) -> anyhow::Result<()> {
        let aborted = move || self.producer.abort_transaction(STEP);
        tokio::task::spawn_blocking(aborted).await?.context("the end of a foreign transaction")
    }
}
