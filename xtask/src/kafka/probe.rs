//! Whether a broker answers, asked in Kafka's own words over a plain connection: a JVM of Kafka's admin client would take
//! longer to start than the broker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a broker may take for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer to these questions is far smaller; anything else is not Kafka.
const ANSWER_BYTES_MAX: usize = 1 << 20;

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// The number of brokers that the broker at this port knows and would lead clients to. `None` while it does not answer.
///
/// It must understand `ApiVersions` 0 and `Metadata` 1, as every broker from 0.10 on does.
pub fn brokers(port: u16) -> Option<u32> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let versions = ask(&mut stream, API_VERSIONS, 0, &[])?;
    if versions.first_chunk() != Some(&[0, 0]) {
        return None;
    }
    // No topic: an empty list, which version 1 tells apart from all topics.
    let metadata = ask(&mut stream, METADATA, 1, &0_i32.to_be_bytes())?;
    metadata.first_chunk().map(|count| u32::from_be_bytes(*count))
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
