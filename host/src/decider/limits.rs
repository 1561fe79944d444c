//! What a module may use: on by default, in the config file with units.

use serde::{Deserialize, Serialize};

/// Limits of modules and of each of their instances. A field's name ends with its unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// CPU time of one decision in milliseconds, evolving its own events included.
    pub decide_ms: u64,
    /// CPU time in milliseconds of one call that folds a batch of events, or loads or writes a snapshot.
    pub fold_ms: u64,
    /// CPU time in milliseconds of starting an instance, and of its description.
    pub init_ms: u64,
    /// Memory of one instance in bytes: all resident states of one type in one lane.
    pub memory_bytes_per_instance: u64,
    /// Table elements of one instance.
    pub table_elements_max: u64,
    /// Bytes of one decision's result: its events together, or its rejection.
    pub result_bytes_max: u64,
    /// Events of one decision.
    pub events_per_command_max: u32,
    /// Bytes of a module's file.
    pub module_bytes_max: u64,
    /// Bytes of one aggregate's state as a snapshot.
    pub snapshot_bytes_max: u64,
    /// Bytes of log text taken from one call; the rest is dropped and said to be.
    pub log_bytes_per_call_max: u64,
    /// Log lines of one instance per second; the rest is dropped and counted.
    pub log_lines_per_second_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decide_ms: 50,
            fold_ms: 1000,
            init_ms: 1000,
            memory_bytes_per_instance: 256 << 20,
            table_elements_max: 10_000,
            result_bytes_max: 1 << 20,
            events_per_command_max: 1000,
            module_bytes_max: 8 << 20,
            snapshot_bytes_max: 8 << 20,
            log_bytes_per_call_max: 16 << 10,
            log_lines_per_second_max: 100,
        }
    }
}

impl Limits {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the field, if a limit is zero or larger than a 32-bit memory.
    pub fn check(&self) -> Result<(), String> {
        let bytes = [
            ("memory_bytes_per_instance", self.memory_bytes_per_instance),
            ("result_bytes_max", self.result_bytes_max),
            ("module_bytes_max", self.module_bytes_max),
            ("snapshot_bytes_max", self.snapshot_bytes_max),
        ];
        let others = [
            ("decide_ms", self.decide_ms),
            ("fold_ms", self.fold_ms),
            ("init_ms", self.init_ms),
            ("table_elements_max", self.table_elements_max),
            ("events_per_command_max", u64::from(self.events_per_command_max)),
        ];
        for (name, value) in bytes.into_iter().chain(others) {
            if value == 0 {
                return Err(format!("limits.{name} is 0, so no module could run: set it to 1 or more"));
            }
        }
        for (name, value) in bytes {
            if value > u64::from(u32::MAX) {
                return Err(format!("limits.{name} is {value}, but a module's memory ends at 4 GiB: set less"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_names_what_it_changes_and_nothing_else() {
        let limits: Limits = toml::from_str("decide_ms = 5").unwrap();
        assert_eq!(limits, Limits { decide_ms: 5, ..Limits::default() });
        assert!(toml::from_str::<Limits>("decide_seconds = 5").unwrap_err().to_string().contains("decide_seconds"));
    }

    #[test]
    fn limits_under_which_nothing_runs_are_refused_by_name() {
        assert_eq!(Limits::default().check(), Ok(()));
        assert!(Limits { fold_ms: 0, ..Limits::default() }.check().unwrap_err().contains("limits.fold_ms"));
        let large = Limits { memory_bytes_per_instance: 1 << 33, ..Limits::default() };
        assert!(large.check().unwrap_err().contains("limits.memory_bytes_per_instance"));
    }
}
