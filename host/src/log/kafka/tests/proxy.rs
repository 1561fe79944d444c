//! Stands between a client and a broker on this machine, and lets answers to EndTxn get lost.
//!
//! Brokers tell clients where to go: wherever an answer names the broker's port behind its address, the proxy's is put
//! there instead, so that nothing goes past it.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const FETCH: i16 = 1;
const INIT_PRODUCER_ID: i16 = 22;
const END_TXN: i16 = 26;

/// What was seen, and what is to be done.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers to EndTxn that are still to be lost.
    pub lose: AtomicU64,
    /// EndTxn that went through to the broker.
    pub end_txns: AtomicU64,
    /// InitProducerId that did.
    pub inits: AtomicU64,
}

/// A proxy. Its threads end with their connections, the last one with the process.
pub struct Proxy {
    pub address: String,
    pub seen: Arc<Seen>,
}

impl Proxy {
    /// Before the broker at an address.
    pub fn before(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Seen>::default();
        let (broker, told) = (broker.to_owned(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(upstream)) = (client, TcpStream::connect(&broker)) else { continue };
                connect(client, upstream, address.port(), &told);
            }
        });
        Self { address: address.to_string(), seen }
    }
}

/// One frame: four bytes of length, and as many bytes.
fn frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let mut frame = vec![0; 4 + u32::from_be_bytes(length) as usize];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// What is known of the requests of a connection that are not answered yet, by their correlation ids.
#[derive(Default)]
struct Asked {
    lost: HashSet<[u8; 4]>,
    fetches: HashSet<[u8; 4]>,
}

fn connect(mut client: TcpStream, mut upstream: TcpStream, port: u16, seen: &Arc<Seen>) {
    let broker_port = upstream.peer_addr().map_or(0, |address| address.port());
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (Ok(mut back), Ok(mut answers)) = (client.try_clone(), upstream.try_clone()) else { return };
    let asked = Arc::new(Mutex::new(Asked::default()));
    let (seen, known) = (Arc::clone(seen), Arc::clone(&asked));
    std::thread::spawn(move || {
        while let Some(frame) = frame(&mut client) {
            let (api, correlation) =
                (i16::from_be_bytes([frame[4], frame[5]]), [frame[8], frame[9], frame[10], frame[11]]);
            let mut asked = known.lock().unwrap();
            match api {
                FETCH => {
                    asked.fetches.insert(correlation);
                }
                INIT_PRODUCER_ID => {
                    seen.inits.fetch_add(1, Ordering::AcqRel);
                }
                END_TXN => {
                    seen.end_txns.fetch_add(1, Ordering::AcqRel);
                    let lose = |left: u64| left.checked_sub(1);
                    if seen.lose.fetch_update(Ordering::AcqRel, Ordering::Acquire, lose).is_ok() {
                        asked.lost.insert(correlation);
                    }
                }
                _ => {}
            }
            drop(asked);
            if upstream.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = upstream.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let here = [b"127.0.0.1".as_slice(), &u32::from(broker_port).to_be_bytes()].concat();
        while let Some(mut frame) = frame(&mut answers) {
            let correlation = [frame[4], frame[5], frame[6], frame[7]];
            let mut asked = asked.lock().unwrap();
            if asked.lost.remove(&correlation) {
                break;
            }
            // What is fetched is data, with a checksum.
            let is_data = asked.fetches.remove(&correlation);
            drop(asked);
            let mut at = 0;
            while let Some(found) = frame[at..].windows(here.len()).position(|window| !is_data && window == here) {
                at += found + here.len();
                frame[at - 4..at].copy_from_slice(&u32::from(port).to_be_bytes());
            }
            if back.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
}
