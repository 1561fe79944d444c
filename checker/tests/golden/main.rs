//! Histories made by hand: each anomaly must be called by its name, and what is merely unusual must pass.
//! The builder writes log bytes and client records with an encoder of its own, from the description of the format.

mod anomalies;
mod builder;
mod damage;
mod legal;
mod speed;
