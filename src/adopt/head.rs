//! The head of a response as nginx got it, read as if an upstream of ours had sent it. Pure.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, Version};

use crate::semantics::fields;
use crate::spelling::Spelling;
use crate::upstream::http1::decode::Length;
use crate::upstream::http1::response::{Asked, Message, Reader};

/// A response without its body.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What it came over.
    pub version: Version,
    /// Its status.
    pub status: StatusCode,
    /// Its fields, without those that concern one connection only.
    pub fields: HeaderMap,
    /// Those of their names that are not spelled as usual.
    pub spelling: Option<Spelling>,
    /// Bytes of its body, where it says how many.
    pub body_bytes: Option<u64>,
}

/// Reads all of `bytes` as one head, with interim ones before it if need be.
///
/// # Errors
/// Why it is none.
pub fn read(bytes: &[u8]) -> Result<Head, String> {
    let (mut reader, mut rest) =
        (Reader::new(Asked { spelling: true, ..Asked::default() }), BytesMut::from(bytes));
    let head = loop {
        match reader.read(&mut rest) {
            Ok(Some(Message::Interim(..))) => {}
            Ok(Some(Message::Head(head))) => break head,
            Ok(None) => return Err("the head of the response has no end".to_owned()),
            Err(error) => return Err(format!("it is no response of HTTP/1: {error}")),
        }
    };
    if !rest.is_empty() {
        return Err("something follows the head of the response".to_owned());
    }
    let (parts, ()) = head.response.into_parts();
    let mut fields = parts.headers;
    fields::remove_hop_by_hop_of_response(&mut fields);
    let spelling = parts.extensions.get::<Spelling>().and_then(|all| all.among(&fields));
    let body_bytes = match head.length {
        Length::Bytes(bytes) => Some(bytes),
        Length::Chunked | Length::UntilEnd => None,
    };
    Ok(Head { version: parts.version, status: parts.status, fields, spelling, body_bytes })
}
