//! A thin producer over librdkafka's C functions. What it is for (measured, see docs/kafka.md): the safe wrapper's commit
//! polls in steps of 100 ms, and nothing in it shows that an EndTxn was sent twice, after which a late one may end a
//! later transaction (KAFKA-17754).
//!
//! Invariants:
//! - Deliveries are counted by the callback that librdkafka runs inside `flush` and `commit`: no thread polls.
//! - Every pointer is owned by the struct that made it, and outlives all calls with it.
#![allow(unsafe_code, reason = "librdkafka's C functions; every pointer stays in this file")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as sys;
use sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use super::logging::redirect;
use super::{KafkaError, advice};

/// Number of the request that ends a transaction, in Kafka's protocol.
const END_TXN: i16 = 26;
/// Number of the request that adds partitions to a transaction.
const ADD_PARTITIONS: i16 = 24;

/// What is known of the records of one transaction.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// For each mark that was given with a record: the offset of its last record.
    pub last: HashMap<u32, i64>,
    /// The first thing that went wrong.
    pub problem: Option<String>,
    /// Records that were delivered.
    pub count: u64,
    /// The brokers refused a record for what it is.
    pub refusal: Option<KafkaError>,
    /// The mark and offset of the last record, until another mark comes: those of one partition come in a row.
    newest: Option<(u32, i64)>,
}

impl Deliveries {
    fn add(&mut self, mark: u32, offset: i64) {
        self.count += 1;
        let before = match self.newest {
            Some((same, before)) if same == mark => Some(before),
            _ => {
                self.settle();
                self.last.get(&mark).copied()
            }
        };
        if before.is_some_and(|before| before >= offset) {
            self.problem.get_or_insert(format!("offset {offset} was given after a larger one"));
        }
        self.newest = Some((mark, offset));
    }

    fn settle(&mut self) {
        self.last.extend(self.newest.take());
    }
}

/// What callbacks write.
#[derive(Debug, Default)]
struct Seen {
    end_txns: AtomicU64,
    added_partitions: AtomicU64,
    deliveries: Mutex<Deliveries>,
}

/// A topic that records are produced to.
#[derive(Debug)]
pub struct Topic {
    raw: *mut sys::rd_kafka_topic_t,
}

// SAFETY: librdkafka's handles may be used from any thread; the counters behind them are atomic or locked.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

/// A producer. Its topics must be dropped before it, which [`Producer`] sees to by owning them.
#[derive(Debug)]
pub struct Producer {
    raw: *mut sys::rd_kafka_t,
    topics: Vec<Topic>,
    /// Boxed: callbacks hold its address.
    seen: Box<Seen>,
}

// SAFETY: as for topics.
unsafe impl Send for Producer {}
// SAFETY: as for topics.
unsafe impl Sync for Producer {}

unsafe extern "C" fn on_delivered(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka gives back the pointer that was set with the configuration, and a message that lives meanwhile.
    let (seen, message) = unsafe { (&*opaque.cast::<Seen>(), &*message) };
    let mut deliveries = seen.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
    let mark = message._private as usize as u32;
    if message.err != OK {
        // SAFETY: both texts are static.
        let [name, text] = unsafe { [sys::rd_kafka_err2name(message.err), sys::rd_kafka_err2str(message.err)] }
            // SAFETY: as above.
            .map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
        deliveries.problem.get_or_insert(format!("a record was not delivered: {text}{}", advice(&text)));
        let error = KafkaError { name, ..KafkaError::other(text) };
        if error.is_refusal() {
            deliveries.refusal.get_or_insert(error);
        }
        return;
    }
    deliveries.add(mark, message.offset);
}

unsafe extern "C" fn on_request(
    _: *mut sys::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: i32,
    key: i16,
    _: i16,
    _: i32,
    _: usize,
    opaque: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the pointer that was given with the interceptor; its owner destroys the client first.
    let seen = unsafe { &*opaque.cast::<Seen>() };
    match key {
        END_TXN => drop(seen.end_txns.fetch_add(1, Ordering::AcqRel)),
        ADD_PARTITIONS => drop(seen.added_partitions.fetch_add(1, Ordering::AcqRel)),
        _ => {}
    }
    OK
}

unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: librdkafka calls this while it makes the client; the name is static.
    unsafe { sys::rd_kafka_interceptor_add_on_request_sent(rk, c"ordain".as_ptr(), Some(on_request), opaque) }
}

/// Turns librdkafka's error into ours and destroys it.
fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), KafkaError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error is ours and is destroyed after its last use.
    unsafe {
        let text = |raw: *const c_char| CStr::from_ptr(raw).to_string_lossy().into_owned();
        let told = KafkaError {
            name: text(sys::rd_kafka_error_name(error)),
            text: text(sys::rd_kafka_error_string(error)),
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
            abortable: sys::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(told)
    }
}

fn millis(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

impl Producer {
    /// Makes a producer for these topics.
    ///
    /// # Errors
    /// [`KafkaError`] if the settings do not fit together.
    pub fn new(config: &ClientConfig, topics: &[String]) -> Result<Self, KafkaError> {
        let native = config.create_native_config().map_err(|e| KafkaError::other(e.to_string()))?;
        let seen = Box::<Seen>::default();
        let opaque = (&raw const *seen).cast_mut().cast::<c_void>();
        let mut why = [0 as c_char; 512];
        // SAFETY: the copy of the configuration belongs to the client from `rd_kafka_new` on, or is destroyed here;
        // `seen` is boxed and lives longer than the client.
        let raw = unsafe {
            let conf = sys::rd_kafka_conf_dup(native.ptr());
            redirect(conf);
            sys::rd_kafka_conf_set_opaque(conf, opaque);
            sys::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivered));
            sys::rd_kafka_conf_interceptor_add_on_new(conf, c"ordain".as_ptr(), Some(on_new), opaque);
            let kind = sys::rd_kafka_type_t::RD_KAFKA_PRODUCER;
            let raw = sys::rd_kafka_new(kind, conf, why.as_mut_ptr(), why.len());
            if raw.is_null() {
                sys::rd_kafka_conf_destroy(conf);
                return Err(KafkaError::other(CStr::from_ptr(why.as_ptr()).to_string_lossy()));
            }
            raw
        };
        let mut producer = Self { raw, topics: Vec::new(), seen };
        for topic in topics {
            let name = CString::new(topic.as_str()).map_err(|e| KafkaError::other(e.to_string()))?;
            // SAFETY: the client lives; the name is copied.
            let topic = unsafe { sys::rd_kafka_topic_new(producer.raw, name.as_ptr(), std::ptr::null_mut()) };
            if topic.is_null() {
                return Err(KafkaError::other(format!("no handle for topic {}", name.to_string_lossy())));
            }
            producer.topics.push(Topic { raw: topic });
        }
        Ok(producer)
    }

    /// Waits until a broker is connected and says who leads the first topic. An init without it finds no connection as
    /// often as not, and librdkafka then looks again after half a second.
    ///
    /// # Errors
    /// [`KafkaError`] if there is no answer in time.
    pub fn connect(&self, timeout: Duration) -> Result<(), KafkaError> {
        let Some(topic) = self.topics.first() else { return Ok(()) };
        let mut metadata = std::ptr::null();
        // SAFETY: client and topic live; the metadata is ours and is destroyed unread.
        let error = unsafe {
            let error = sys::rd_kafka_metadata(self.raw, 0, topic.raw, &raw mut metadata, millis(timeout));
            if !metadata.is_null() {
                sys::rd_kafka_metadata_destroy(metadata);
            }
            error
        };
        if error == OK {
            return Ok(());
        }
        // SAFETY: the text is static.
        let text = unsafe { CStr::from_ptr(sys::rd_kafka_err2str(error)) };
        Err(KafkaError::other(text.to_string_lossy()))
    }

    /// Fences every earlier producer of the same transactional id.
    ///
    /// # Errors
    /// [`KafkaError`]; a retriable one may be tried again on the same producer.
    pub fn init(&self, timeout: Duration) -> Result<(), KafkaError> {
        // SAFETY: the client lives.
        check(unsafe { sys::rd_kafka_init_transactions(self.raw, millis(timeout)) })
    }

    /// Begins a transaction; nothing is sent yet.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub fn begin(&self) -> Result<(), KafkaError> {
        *self.seen.deliveries.lock().unwrap_or_else(PoisonError::into_inner) = Deliveries::default();
        self.seen.end_txns.store(0, Ordering::Release);
        self.seen.added_partitions.store(0, Ordering::Release);
        // SAFETY: the client lives.
        check(unsafe { sys::rd_kafka_begin_transaction(self.raw) })
    }

    /// Hands a record over, copied. `topic`: place of the topic in what the producer was made for. `mark`: under which
    /// its delivery is noted.
    ///
    /// # Errors
    /// [`KafkaError`]; the queue being full is one, as a transaction is bounded.
    pub fn produce<'a>(
        &self,
        topic: usize,
        partition: u32,
        mark: u32,
        key: &[u8],
        value: &[u8],
        headers: impl IntoIterator<Item = (&'a CStr, &'a [u8]), IntoIter: ExactSizeIterator>,
    ) -> Result<(), KafkaError> {
        use sys::rd_kafka_vtype_t as vtype;
        let topic =
            self.topics.get(topic).ok_or_else(|| KafkaError::other("a topic that the producer was not made for"))?;
        let headers = Headers::new(headers.into_iter());
        let bytes = |bytes: &[u8]| sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: bytes.as_ptr().cast_mut().cast(),
            size: bytes.len(),
        };
        let parts = [
            part(vtype::RD_KAFKA_VTYPE_RKT, |u| u.rkt = topic.raw),
            part(vtype::RD_KAFKA_VTYPE_PARTITION, |u| u.i32_ = partition as i32),
            part(vtype::RD_KAFKA_VTYPE_MSGFLAGS, |u| u.i = sys::RD_KAFKA_MSG_F_COPY as c_int),
            part(vtype::RD_KAFKA_VTYPE_KEY, |u| u.mem = bytes(key)),
            part(vtype::RD_KAFKA_VTYPE_VALUE, |u| u.mem = bytes(value)),
            part(vtype::RD_KAFKA_VTYPE_OPAQUE, |u| u.ptr = mark as usize as *mut c_void),
            part(vtype::RD_KAFKA_VTYPE_HEADERS, |u| u.headers = headers.0),
        ];
        // SAFETY: everything that the parts point to lives until the call returns, which copies it; the headers are its own
        // if it takes the record.
        check(unsafe { sys::rd_kafka_produceva(self.raw, parts.as_ptr(), parts.len()) })?;
        std::mem::forget(headers);
        Ok(())
    }

    /// Waits until everything is delivered and commits. Returns what was delivered.
    ///
    /// # Errors
    /// [`KafkaError`]. Only a success with [`Self::end_txns`] of 1 is one.
    pub fn commit(&self, timeout: Duration) -> Result<Deliveries, KafkaError> {
        // SAFETY: the client lives.
        let committed = check(unsafe { sys::rd_kafka_commit_transaction(self.raw, millis(timeout)) });
        let delivered = self.delivered();
        // A refused record is why, whatever the transaction says of it.
        committed.map_err(|error| delivered.refusal.clone().unwrap_or(error))?;
        Ok(delivered)
    }

    fn delivered(&self) -> Deliveries {
        let mut delivered = std::mem::take(&mut *self.seen.deliveries.lock().unwrap_or_else(PoisonError::into_inner));
        delivered.settle();
        delivered
    }

    /// Gives the transaction up.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub fn abort(&self, timeout: Duration) -> Result<(), KafkaError> {
        // SAFETY: the client lives.
        check(unsafe { sys::rd_kafka_abort_transaction(self.raw, millis(timeout)) })
    }

    /// How often EndTxn was sent since the last begin.
    pub fn end_txns(&self) -> u64 {
        self.seen.end_txns.load(Ordering::Acquire)
    }

    /// How often it was asked for partitions to be added since the last begin.
    pub fn added_partitions(&self) -> u64 {
        self.seen.added_partitions.load(Ordering::Acquire)
    }

    /// Waits until everything that was handed over outside of a transaction is delivered, or `timeout` has passed.
    /// Returns what was delivered since the last call.
    pub fn flush(&self, timeout: Duration) -> Deliveries {
        // SAFETY: the client lives. A time-out shows in the count of deliveries.
        unsafe { sys::rd_kafka_flush(self.raw, millis(timeout)) };
        self.delivered()
    }
}

/// Headers of a record that is not handed over yet. Made here and not by librdkafka from parts of the record: its list of them
/// would grow once for each record, and each name would be measured.
struct Headers(*mut sys::rd_kafka_headers_t);

impl Headers {
    fn new<'a>(all: impl ExactSizeIterator<Item = (&'a CStr, &'a [u8])>) -> Self {
        // SAFETY: no argument is a pointer.
        let headers = Self(unsafe { sys::rd_kafka_headers_new(all.len()) });
        for (name, value) in all {
            let (length, size) = (name.count_bytes() as isize, value.len() as isize);
            // SAFETY: the headers live; name and value are copied.
            unsafe { sys::rd_kafka_header_add(headers.0, name.as_ptr(), length, value.as_ptr().cast(), size) };
        }
        headers
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: they are ours until a record with them is taken, and then forgotten here.
        unsafe { sys::rd_kafka_headers_destroy(self.0) };
    }
}

/// A part of a record.
fn part(vtype: sys::rd_kafka_vtype_t, set: impl FnOnce(&mut sys::rd_kafka_vu_s__bindgen_ty_1)) -> sys::rd_kafka_vu_t {
    // SAFETY: all zeros are a valid value of this C struct.
    let mut part: sys::rd_kafka_vu_t = unsafe { std::mem::zeroed() };
    part.vtype = vtype;
    set(&mut part.u);
    part
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: each handle is destroyed once, topics first; what was not delivered is given up at once.
        unsafe {
            sys::rd_kafka_purge(self.raw, (sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT) as c_int);
            for topic in self.topics.drain(..) {
                sys::rd_kafka_topic_destroy(topic.raw);
            }
            sys::rd_kafka_destroy(self.raw);
        }
    }
}
