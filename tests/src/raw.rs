//! What anybody may do to a Kafka cluster behind the hosts' backs: write any record, change a topic, delete records.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

/// Longest wait for an answer of the cluster.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of a record that this producer sends: what is refused, the brokers refuse.
const BYTES_MAX: &str = "200000000";

/// A record, whatever it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawRecord {
    /// Its partition.
    pub partition: u32,
    /// The key, unless null.
    pub key: Option<Vec<u8>>,
    /// The value, unless null.
    pub value: Option<Vec<u8>>,
    /// Headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its time in milliseconds since 1970-01-01 UTC, unless it is to be now.
    pub timestamp_ms: Option<i64>,
}

/// Where records were written, by their place in what was sent; or why not.
#[derive(Clone, Default)]
struct Delivered(Arc<Mutex<BTreeMap<usize, Result<u64, String>>>>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, at: usize) {
        let offset = match result {
            Ok(message) => Ok(message.offset().cast_unsigned()),
            Err((error, _)) => Err(error.to_string()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(at, offset);
    }
}

/// A producer without manners.
pub struct Raw {
    producer: BaseProducer<Delivered>,
    delivered: Delivered,
}

impl Raw {
    /// Connects. `properties`: of librdkafka, on top of the plain ones.
    ///
    /// # Errors
    /// If librdkafka refuses a property.
    pub fn open(brokers: &str, properties: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("message.max.bytes", BYTES_MAX);
        config.set("queue.buffering.max.kbytes", "1000000");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        let delivered = Delivered::default();
        Ok(Self { producer: config.create_with_context(delivered.clone())?, delivered })
    }

    /// Writes records to a topic and gives the offset of each.
    ///
    /// # Errors
    /// If one is not taken.
    pub fn send(&self, topic: &str, records: &[RawRecord]) -> anyhow::Result<Vec<u64>> {
        self.delivered.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for (at, one) in records.iter().enumerate() {
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, at);
            record = record.partition(one.partition.cast_signed());
            record.key = one.key.as_deref();
            record.payload = one.value.as_deref();
            record.timestamp = one.timestamp_ms;
            if !one.headers.is_empty() {
                let add = |all: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
                    all.insert(Header { key: name, value: value.as_ref() })
                };
                record.headers = Some(one.headers.iter().fold(OwnedHeaders::new(), add));
            }
            self.producer.send(record).map_err(|(error, _)| error).context("a record is not even sent")?;
        }
        self.producer.flush(ANSWER)?;
        let delivered = std::mem::take(&mut *self.delivered.0.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(delivered.len() == records.len(), "{} of {} records were delivered", delivered.len(), records.len());
        delivered.into_values().collect::<Result<_, _>>().map_err(anyhow::Error::msg)
    }

    /// Begins a transaction; the properties must name a transactional id.
    ///
    /// # Errors
    /// What the cluster says.
    pub fn begin(&self) -> anyhow::Result<()> {
        self.producer.init_transactions(ANSWER)?;
        Ok(self.producer.begin_transaction()?)
    }

    /// Gives the transaction up.
    ///
    /// # Errors
    /// What the cluster says.
    pub fn abort(&self) -> anyhow::Result<()> {
        Ok(self.producer.abort_transaction(ANSWER)?)
    }
}

/// Changes of topics.
pub struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    /// Connects.
    ///
    /// # Errors
    /// If librdkafka refuses a property.
    pub fn open(brokers: &str) -> anyhow::Result<Self> {
        Ok(Self(ClientConfig::new().set("bootstrap.servers", brokers).create()?))
    }

    fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
    }

    /// Bounds the records of a topic of events or commands, with all else as hosts make it.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn bound(&self, topic: &str, bytes: usize) -> anyhow::Result<()> {
        let bytes = bytes.to_string();
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic))
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("min.insync.replicas", "1")
            .set("unclean.leader.election.enable", "false")
            .set("max.message.bytes", &bytes);
        if topic.ends_with(".events") {
            change = change.set("message.timestamp.type", "LogAppendTime");
        }
        for changed in self.0.alter_configs([&change], &Self::options()).await? {
            changed.map_err(|(_, code)| code)?;
        }
        Ok(())
    }

    /// Deletes the records of a partition below an offset.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn truncate(&self, topic: &str, partition: u32, below: u64) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition.cast_signed(), Offset::Offset(below.cast_signed()))?;
        self.0.delete_records(&list, &Self::options()).await?;
        Ok(())
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn delete(&self, topic: &str) -> anyhow::Result<()> {
        for deleted in self.0.delete_topics(&[topic], &Self::options()).await? {
            match deleted {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((_, code)) => bail!("{topic} cannot be deleted: {code}"),
            }
        }
        Ok(())
    }
}
