//! A consumer that is given its partitions and takes many records at once: several times faster than one by one.
//!
//! Invariant: a record is lent to the caller for one call only; every message is destroyed after it.
#![allow(unsafe_code, reason = "librdkafka's C functions; every pointer stays in this file")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as sys;
use sys::rd_kafka_resp_err_t::{RD_KAFKA_RESP_ERR__PARTITION_EOF as EOF, RD_KAFKA_RESP_ERR_NO_ERROR as OK};

use super::KafkaError;
use super::logging::redirect;
use crate::log::kafka::records::{HeaderView, RecordView};

/// Records taken at once.
const BATCH: usize = 1_000;
/// Most headers of one record that are read.
const HEADERS_MAX: usize = 256;

/// A partition to read, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset.
    pub offset: i64,
}

/// A consumer of an assignment that does not change.
#[derive(Debug)]
pub struct Consumer {
    raw: *mut sys::rd_kafka_t,
    queue: *mut sys::rd_kafka_queue_t,
    assigned: Vec<Assigned>,
    /// Topic handle (as a number) and partition → place in the assignment.
    places: HashMap<(usize, i32), usize>,
    batch: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread; `poll` wants `&mut self`.
unsafe impl Send for Consumer {}

impl Consumer {
    /// Makes a consumer and assigns the partitions.
    ///
    /// # Errors
    /// [`KafkaError`] if the settings do not fit together.
    pub fn new(config: &ClientConfig, assigned: Vec<Assigned>) -> Result<Self, KafkaError> {
        let native = config.create_native_config().map_err(|e| KafkaError::other(e.to_string()))?;
        let mut why = [0 as c_char; 512];
        // SAFETY: the copy of the configuration belongs to the client from `rd_kafka_new` on, or is destroyed here.
        let (raw, queue) = unsafe {
            let conf = sys::rd_kafka_conf_dup(native.ptr());
            redirect(conf);
            let raw = sys::rd_kafka_new(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, conf, why.as_mut_ptr(), why.len());
            if raw.is_null() {
                sys::rd_kafka_conf_destroy(conf);
                return Err(KafkaError::other(CStr::from_ptr(why.as_ptr()).to_string_lossy()));
            }
            sys::rd_kafka_poll_set_consumer(raw);
            (raw, sys::rd_kafka_queue_get_consumer(raw))
        };
        let consumer = Self { raw, queue, assigned, places: HashMap::new(), batch: vec![std::ptr::null_mut(); BATCH] };
        consumer.assign()?;
        Ok(consumer)
    }

    fn assign(&self) -> Result<(), KafkaError> {
        let names = self.assigned.iter().map(|one| CString::new(one.topic.as_str()));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(|e| KafkaError::other(e.to_string()))?;
        // SAFETY: the list is destroyed after its last use; names are copied into it.
        let error = unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(self.assigned.len() as c_int);
            for (one, name) in self.assigned.iter().zip(&names) {
                let place = sys::rd_kafka_topic_partition_list_add(list, name.as_ptr(), one.partition as i32);
                (*place).offset = one.offset;
            }
            let error = sys::rd_kafka_assign(self.raw, list);
            sys::rd_kafka_topic_partition_list_destroy(list);
            error
        };
        if error == OK { Ok(()) } else { Err(KafkaError::other(error_text(error))) }
    }

    /// Waits for records and hands each to `each`: place of its partition in the assignment, offset, record. Returns how
    /// many there were.
    ///
    /// # Errors
    /// What `each` returned; or, through `fail`, what librdkafka says of a partition (its place) or of the client. A partition
    /// that is out of range ([`KafkaError::is_out_of_range`]) is not read any more by this consumer.
    pub fn poll<E>(
        &mut self,
        patience: Duration,
        mut each: impl FnMut(usize, i64, &RecordView<'_>) -> Result<(), E>,
        fail: impl Fn(usize, KafkaError) -> E,
    ) -> Result<usize, E> {
        let mut wait = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
        // It waits for a full batch: the first record is waited for alone, and then what is there is taken.
        let mut count = 0;
        for most in [1, BATCH - 1] {
            // SAFETY: the queue lives, and there is room for `most` pointers behind `count`.
            let taken = unsafe {
                sys::rd_kafka_consume_batch_queue(self.queue, wait, self.batch.as_mut_ptr().add(count), most)
            };
            count += usize::try_from(taken).unwrap_or(0);
            if count == 0 {
                return Ok(0);
            }
            wait = 0;
        }
        let mut result = Ok(());
        let mut records = 0;
        for at in 0..count {
            let message = self.batch[at];
            if result.is_ok() {
                // SAFETY: a message that librdkafka gave and nobody destroyed yet.
                result = unsafe { self.one(message, &mut records, &mut each, &fail) };
            }
            // SAFETY: as above; it is not used afterwards.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
        result.map(|()| records)
    }

    unsafe fn one<E>(
        &mut self,
        message: *mut sys::rd_kafka_message_t,
        records: &mut usize,
        each: &mut impl FnMut(usize, i64, &RecordView<'_>) -> Result<(), E>,
        fail: &impl Fn(usize, KafkaError) -> E,
    ) -> Result<(), E> {
        // SAFETY: the caller's promise.
        let it = unsafe { &*message };
        let place = self.place(it);
        if it.err == EOF {
            return Ok(());
        }
        if it.err != OK {
            // SAFETY: the message lives.
            let text = unsafe { sys::rd_kafka_message_errstr(message) };
            let text = if text.is_null() {
                error_text(it.err)
            } else {
                // SAFETY: not null, and lives as long as the message.
                unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
            };
            if is_passing(it.err) {
                tracing::debug!("Kafka: {text}");
                return Ok(());
            }
            // SAFETY: the name is static.
            let name = unsafe { CStr::from_ptr(sys::rd_kafka_err2name(it.err)) }.to_string_lossy().into_owned();
            return Err(fail(place, KafkaError { name, ..KafkaError::other(text) }));
        }
        // Only those that are there are written: the whole array would be 8 KB for each record.
        let mut room = [const { MaybeUninit::<HeaderView<'_>>::uninit() }; HEADERS_MAX];
        // SAFETY: the message lives, and so does what its headers point to.
        let headers = unsafe { read_headers(message, &mut room) };
        let bytes = |at: *mut c_void, length: usize| {
            // SAFETY: librdkafka gives pointer and length of bytes that live as long as the message.
            (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>().cast_const(), length) })
        };
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        let timestamp_ms = unsafe { sys::rd_kafka_message_timestamp(message, &raw mut kind) };
        let view =
            RecordView { key: bytes(it.key, it.key_len), value: bytes(it.payload, it.len), headers, timestamp_ms };
        *records += 1;
        each(place, it.offset, &view)
    }

    fn place(&mut self, message: &sys::rd_kafka_message_t) -> usize {
        let key = (message.rkt as usize, message.partition);
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        if message.rkt.is_null() {
            return usize::MAX;
        }
        // SAFETY: the topic's handle lives as long as the message; the name as long as the handle.
        let topic = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)) }.to_string_lossy().into_owned();
        let found = self
            .assigned
            .iter()
            .position(|one| one.topic == topic && i64::from(one.partition) == i64::from(message.partition));
        let place = found.unwrap_or(usize::MAX);
        self.places.insert(key, place);
        place
    }

    /// The first offset of a partition and the one behind its last, as the broker says that leads it in this client's
    /// opinion.
    ///
    /// # Errors
    /// [`KafkaError`] if nobody says it within `patience`.
    pub fn watermarks(&self, place: usize, patience: Duration) -> Result<(i64, i64), KafkaError> {
        let one = self.assigned.get(place).ok_or_else(|| KafkaError::other("there is no such partition"))?;
        let topic = CString::new(one.topic.as_str()).map_err(|e| KafkaError::other(e.to_string()))?;
        let (mut low, mut high) = (0, 0);
        let wait = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client lives; name and places for the answer outlive the call.
        let error = unsafe {
            let partition = one.partition as i32;
            sys::rd_kafka_query_watermark_offsets(
                self.raw,
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
                wait,
            )
        };
        if error == OK { Ok((low, high)) } else { Err(KafkaError::other(error_text(error))) }
    }

    /// The assignment's partition at a place.
    pub fn assigned(&self, place: usize) -> Option<&Assigned> {
        self.assigned.get(place)
    }
}

/// Reads as many headers as there is room for.
unsafe fn read_headers<'a, 'b>(
    message: *const sys::rd_kafka_message_t,
    room: &'b mut [MaybeUninit<HeaderView<'a>>],
) -> &'b [HeaderView<'a>] {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the caller's message lives.
    if unsafe { sys::rd_kafka_message_headers(message, &raw mut headers) } != OK {
        return &[];
    }
    let mut count = 0;
    for slot in room.iter_mut() {
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the headers belong to the message.
        if unsafe { sys::rd_kafka_header_get_all(headers, count, &raw mut name, &raw mut value, &raw mut size) } != OK {
            break;
        }
        // SAFETY: name and value live as long as the message, which the caller keeps for 'a.
        slot.write(unsafe {
            let name = CStr::from_ptr::<'a>(name).to_bytes();
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts::<'a, u8>(value.cast(), size));
            (name, value)
        });
        count += 1;
    }
    // SAFETY: the first `count` were written just now.
    unsafe { std::slice::from_raw_parts(room.as_ptr().cast(), count) }
}

fn error_text(error: sys::rd_kafka_resp_err_t) -> String {
    // SAFETY: the text is static.
    unsafe { CStr::from_ptr(sys::rd_kafka_err2str(error)) }.to_string_lossy().into_owned()
}

/// What says nothing against what is read, and librdkafka tries again by itself. Java's consumer goes on after the same.
fn is_passing(error: sys::rd_kafka_resp_err_t) -> bool {
    use sys::rd_kafka_resp_err_t as e;
    matches!(
        error,
        e::RD_KAFKA_RESP_ERR__TRANSPORT
            | e::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | e::RD_KAFKA_RESP_ERR__RESOLVE
            | e::RD_KAFKA_RESP_ERR__TIMED_OUT
            | e::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
            | e::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
            | e::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
            | e::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
            | e::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
            | e::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
            | e::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
            | e::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR
            | e::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
            | e::RD_KAFKA_RESP_ERR_UNKNOWN
    )
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: each handle is destroyed once; nothing was committed or joined, so there is nothing to close politely.
        unsafe {
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_destroy_flags(self.raw, sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE as c_int);
        }
    }
}
