//! How one value looks on disk: a version byte, a crc32c of what follows, and the payload as JSON.
//!
//! sled has checksums of its own, but it answers a bad one by forgetting what comes after it. Ours turn that into an error
//! with a name.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte of every value. A reader that meets a higher one was downgraded too far.
const VERSION: u8 = 1;
const HEADER: usize = 5;

/// The largest value that may be written. sled moves values of more than about 100 KiB into blob files that are never
/// synced, so nothing of that size may reach it.
pub const MAX_VALUE: usize = 90 * 1024;

/// Why the bytes of a value are not a value.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// Too short to hold the header.
    #[error("expected at least {HEADER} bytes, got {0}")]
    Short(usize),
    /// Written by a release with another format.
    #[error("expected format {VERSION}, got {0}: was this node downgraded?")]
    Version(u8),
    /// The bytes have changed since they were written.
    #[error("expected crc32c {expected:08x}, got {got:08x}")]
    Checksum {
        /// As stored.
        expected: u32,
        /// As computed.
        got: u32,
    },
    /// The checksum is right and the payload is not what it should be.
    #[error("checksum correct, but the payload cannot be read: {0}")]
    Payload(#[from] serde_json::Error),
}

/// Puts the header before a payload.
pub fn seal(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.push(VERSION);
    out.extend_from_slice(&crc32c::crc32c(payload).to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Checks the header and gives the payload.
pub fn open(bytes: &[u8]) -> Result<&[u8], BadRecord> {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(BadRecord::Short(bytes.len()));
    };
    let [version, crc @ ..] = *header;
    if version != VERSION {
        return Err(BadRecord::Version(version));
    }
    let (expected, got) = (u32::from_be_bytes(crc), crc32c::crc32c(payload));
    if expected != got {
        return Err(BadRecord::Checksum { expected, got });
    }
    Ok(payload)
}

/// Seals a value as JSON.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    Ok(seal(&serde_json::to_vec(value)?))
}

/// Opens a value that was sealed as JSON.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadRecord> {
    Ok(serde_json::from_slice(open(bytes)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let sealed = encode(&("epoch", 7)).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<(String, u64)>(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(decode::<(String, u64)>(&sealed).unwrap(), ("epoch".to_string(), 7));
    }

    #[test]
    fn every_cut_is_seen() {
        let sealed = encode(&("epoch", 7)).unwrap();
        for len in 0..sealed.len() {
            assert!(open(&sealed[..len]).is_err(), "length {len}");
        }
    }
}
