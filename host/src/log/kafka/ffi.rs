//! What the safe wrapper of librdkafka lacks. Unsafe code of the Kafka log is below this module alone.

pub mod admin;
