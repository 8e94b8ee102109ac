//! Callers below the protocol: bytes by hand over a plain connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Between two bytes of a slow sender.
const SLOW: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(100);
/// Nobody has to answer nonsense for longer.
const PATIENCE: Duration = Duration::from_secs(1);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// A whole call to watch, and then not a byte is read of what is answered.
pub async fn never_reads(node: SocketAddr) {
    loop {
        if let Ok(mut connection) = TcpStream::connect(node).await
            && connection.write_all(&watch()).await.is_ok()
        {
            std::future::pending::<()>().await;
        }
        sleep(AGAIN).await;
    }
}

/// The same call, a byte at a time.
pub async fn byte_by_byte(node: SocketAddr) {
    loop {
        if let Ok(mut connection) = TcpStream::connect(node).await {
            for byte in watch() {
                if connection.write_all(&[byte]).await.is_err() {
                    break;
                }
                sleep(SLOW).await;
            }
        }
        sleep(AGAIN).await;
    }
}

/// What is no HTTP/2, what is only its beginning, and what is it with frames that are none.
pub async fn garbage(node: SocketAddr) {
    let mut endless = Vec::from(PREFACE);
    endless.extend(frame(SETTINGS, 0, 0, &[]));
    endless.extend([0xff; 4096]);
    let nonsense: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: regent\r\n\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        &[0; 65_536],
        PREFACE,
        &endless,
    ];
    for bytes in nonsense.iter().cycle() {
        if let Ok(mut connection) = TcpStream::connect(node).await {
            let _ = connection.write_all(bytes).await;
            let _ = timeout(PATIENCE, connection.read(&mut [0; 1024])).await;
        }
        sleep(AGAIN).await;
    }
}

/// A call of `Leadership/Watch` for all groups.
fn watch() -> Vec<u8> {
    let mut bytes = Vec::from(PREFACE);
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/regent.v1.Leadership/Watch"),
        (":authority", "regent"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block));
    // An empty message: not compressed, no bytes.
    bytes.extend(frame(DATA, END_STREAM, 1, &[0; 5]));
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header field that is not put into the table; texts of less than 127 bytes.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.push(value.len() as u8);
    bytes.extend(value.as_bytes());
    bytes
}
