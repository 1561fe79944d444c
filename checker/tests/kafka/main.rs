//! Logs on Kafka made by hand: each anomaly must be called by its name, and what is merely unusual must pass.
//! The builder writes records from the description of them; one test does the same on a real broker.

mod anomalies;
mod broker;
mod builder;
mod clients;
mod legal;
mod speed;
