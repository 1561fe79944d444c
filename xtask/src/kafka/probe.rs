//! Whether a broker answers, and what it knows of leaders and coordinators, asked in Kafka's own words over a plain
//! connection: a JVM of Kafka's admin client would take longer to start than the broker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a broker may take for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer to these questions is far smaller; anything else is not Kafka.
const ANSWER_BYTES_MAX: usize = 1 << 20;

const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;

/// A partition, as one broker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub number: u32,
    /// The broker that leads it; none while there is no leader.
    pub leader: Option<u16>,
    /// Brokers that hold a copy.
    pub copies: usize,
    /// Those of them that hold everything.
    pub in_sync: usize,
}

/// Whose coordinator is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinated<'a> {
    /// A consumer group's.
    Group(&'a str),
    /// A transactional id's.
    Transactions(&'a str),
}

/// The number of brokers that the broker at this port knows and would lead clients to. `None` while it does not answer.
///
/// It must understand `ApiVersions` 0 and `Metadata` 1, as every broker from 0.10 on does.
pub fn brokers(port: u16) -> Option<u32> {
    let mut stream = connect(port)?;
    let versions = ask(&mut stream, API_VERSIONS, 0, &[])?;
    if versions.first_chunk() != Some(&[0, 0]) {
        return None;
    }
    // No topic: an empty list, which version 1 tells apart from all topics.
    let metadata = ask(&mut stream, METADATA, 1, &0_i32.to_be_bytes())?;
    metadata.first_chunk().map(|count| u32::from_be_bytes(*count))
}

/// All partitions that the broker at this port knows. `None` if it does not answer.
pub fn partitions(port: u16) -> Option<Vec<Partition>> {
    // All topics: no list, which version 1 writes as a length of -1.
    let metadata = ask(&mut connect(port)?, METADATA, 1, &(-1_i32).to_be_bytes())?;
    let mut words = Words(&metadata);
    for _ in 0..words.number()? {
        let (_id, _host, _port, _rack) = (words.number()?, words.text()?, words.number()?, words.text()?);
    }
    let _controller = words.number()?;
    let mut partitions = Vec::new();
    for _ in 0..words.number()? {
        let (_error, topic, _internal) = (words.short()?, words.text()?, words.take(1)?);
        for _ in 0..words.number()? {
            let (_error, number, leader) = (words.short()?, words.number()?, words.number()?);
            let (copies, in_sync) = (words.numbers()?, words.numbers()?);
            let (number, leader) = (u32::try_from(number).ok()?, u16::try_from(leader).ok());
            partitions.push(Partition { topic: topic.clone(), number, leader, copies, in_sync });
        }
    }
    Some(partitions)
}

/// The coordinator of a group or a transactional id, as the broker at this port knows it. `None` if it does not answer or
/// knows of none now.
pub fn coordinator(port: u16, of: Coordinated<'_>) -> Option<u16> {
    let (key, kind) = match of {
        Coordinated::Group(group) => (group, 0),
        Coordinated::Transactions(id) => (id, 1),
    };
    let length = i16::try_from(key.len()).ok()?;
    let body = [&length.to_be_bytes()[..], key.as_bytes(), &[kind]].concat();
    let answer = ask(&mut connect(port)?, FIND_COORDINATOR, 1, &body)?;
    let mut words = Words(&answer);
    let (_throttled, error, _message, node) = (words.number()?, words.short()?, words.text()?, words.number()?);
    if error == 0 { u16::try_from(node).ok() } else { None }
}

/// What is left of an answer; `None` where it ends too early.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn number(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    /// Text, which is empty where there is none.
    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.short()?.max(0)).ok()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    /// Skips a list of numbers and returns how many there are.
    fn numbers(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count.checked_mul(4)?)?;
        Some(count)
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Sends one request and returns the answer's body.
fn ask(stream: &mut TcpStream, api: i16, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    const CORRELATION: [u8; 4] = *b"ordn";
    // The client id is null, in two bytes of -1.
    let header = [&api.to_be_bytes()[..], &version.to_be_bytes(), &CORRELATION, &(-1_i16).to_be_bytes()].concat();
    let length = u32::try_from(header.len() + body.len()).ok()?;
    stream.write_all(&[&length.to_be_bytes()[..], &header, body].concat()).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= ANSWER_BYTES_MAX)?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).ok()?;
    answer.strip_prefix(&CORRELATION).map(<[u8]>::to_vec)
}
