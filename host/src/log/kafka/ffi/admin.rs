//! Two requests of librdkafka's administration that the safe wrapper lacks: topics with their ids, and where logs begin.
#![allow(
    unsafe_code,
    reason = "the wrapper has no DescribeTopics and no ListOffsets; every pointer stays in this file"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use sys::rd_kafka_resp_err_t::{RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART};

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its id: another one after it was deleted and made again. Kafka's own form, 22 characters.
    pub id: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Copies of the partition that has the fewest.
    pub replicas_min: u32,
}

/// Describes topics; those that do not exist are left out.
///
/// # Errors
/// A sentence of librdkafka's: nobody answered in time, or the cluster said no.
pub fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Described>, String> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names = names.iter().map(|name| c_string(name)).collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`, the names until the end of this function; librdkafka copies them.
    let event = unsafe {
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let asked = ask(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout, |options, queue| {
            sys::rd_kafka_DescribeTopics(rk, topics, options, queue);
        });
        sys::rd_kafka_TopicCollection_destroy(topics);
        asked?
    };
    // SAFETY: the event is of this request, without an error, and outlives what is read from it.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut described = Vec::with_capacity(count);
        for at in 0..count {
            let topic = *topics.add(at);
            let error = sys::rd_kafka_TopicDescription_error(topic);
            let name = text(sys::rd_kafka_TopicDescription_name(topic));
            match sys::rd_kafka_error_code(error) {
                RD_KAFKA_RESP_ERR_NO_ERROR => described.push(description(topic, name)),
                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {}
                _ => return Err(format!("topic {name}: {}", text(sys::rd_kafka_error_string(error)))),
            }
        }
        Ok(described)
    }
}

/// # Safety
/// `topic` is a description without an error that is still alive.
unsafe fn description(topic: *const sys::rd_kafka_TopicDescription_t, name: String) -> Described {
    // SAFETY: as the caller promises; the parts live as long as the whole.
    unsafe {
        let id = text(sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic)));
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let replicas = (0..count).map(|at| {
            let mut replicas = 0;
            sys::rd_kafka_TopicPartitionInfo_replicas(*partitions.add(at), &raw mut replicas);
            u32::try_from(replicas).unwrap_or(u32::MAX)
        });
        let replicas_min = replicas.min().unwrap_or(0);
        Described { name, id, partitions: u32::try_from(count).unwrap_or(u32::MAX), replicas_min }
    }
}

/// Which end of a log is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first offset that is still there.
    First,
    /// The offset after the last record.
    Last,
    /// The offset after the last record that a reader of committed ones gets: the first of an open transaction, or the end.
    Stable,
}

/// One end of each of these partitions, by topic and partition.
///
/// # Errors
/// A sentence of librdkafka's: nobody answered in time, or the cluster said no.
pub fn offsets<C: ClientContext>(
    client: &Client<C>,
    partitions: &[(&str, u32)],
    end: End,
    timeout: Duration,
) -> Result<BTreeMap<(String, u32), i64>, String> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`; librdkafka copies the names and the list.
    let event = unsafe {
        let list = Partitions(sys::rd_kafka_topic_partition_list_new(0));
        for (name, partition) in partitions {
            let name = c_string(name)?;
            let one = sys::rd_kafka_topic_partition_list_add(list.0, name.as_ptr(), partition.cast_signed());
            (*one).offset = match end {
                End::First => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
                End::Last | End::Stable => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            };
        }
        ask(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout, |options, queue| {
            if end == End::Stable {
                let committed = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
                // It fails for requests of another kind alone.
                sys::rd_kafka_error_destroy(sys::rd_kafka_AdminOptions_set_isolation_level(options, committed));
            }
            sys::rd_kafka_ListOffsets(rk, list.0, options, queue);
        })?
    };
    // SAFETY: the event is of this request, without an error, and outlives what is read from it.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_ListOffsets_result(event.0);
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let mut offsets = BTreeMap::new();
        for at in 0..count {
            let one = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(at));
            let (topic, partition) = (text((*one).topic), (*one).partition.cast_unsigned());
            if (*one).err != RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(format!("{topic}-{partition}: {}", text(sys::rd_kafka_err2str((*one).err))));
            }
            offsets.insert((topic, partition), (*one).offset);
        }
        Ok(offsets)
    }
}

/// A list that goes away with its owner.
struct Partitions(*mut sys::rd_kafka_topic_partition_list_t);

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: made by librdkafka, owned here alone.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

/// The answer to a request; everything read from it goes away with it.
struct Event(*mut sys::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: given by librdkafka, owned here alone.
        unsafe { sys::rd_kafka_event_destroy(self.0) };
    }
}

/// Sends one request and waits for its answer, which is without an error as a whole.
///
/// # Safety
/// `rk` is a live client; `request` hands the two pointers to one request of `operation` and keeps neither.
unsafe fn ask(
    rk: *mut sys::rd_kafka_t,
    operation: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    request: impl FnOnce(*mut sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> Result<Event, String> {
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX / 2);
    // SAFETY: options and queue are made and destroyed here; librdkafka keeps what it needs of them.
    let event = unsafe {
        let options = sys::rd_kafka_AdminOptions_new(rk, operation);
        let mut error = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, error.as_mut_ptr(), error.len());
        let queue = sys::rd_kafka_queue_new(rk);
        request(options, queue);
        // The request ends by itself; the second more is for the way.
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000));
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        event
    };
    if event.is_null() {
        return Err(format!("no answer within {timeout_ms} ms"));
    }
    let event = Event(event);
    // SAFETY: the event is alive.
    unsafe {
        match sys::rd_kafka_event_error(event.0) {
            RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
            _ => Err(text(sys::rd_kafka_event_error_string(event.0))),
        }
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("the name {text:?} holds a zero byte"))
}

/// # Safety
/// `pointer` is null or a C string that is alive during the call.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
