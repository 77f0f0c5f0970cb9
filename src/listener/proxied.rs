//! What a proxy in front says ahead of everything: the PROXY protocol, both versions.
//!
//! Reads the header and not one byte more, so that whatever follows, TLS or a request, finds all of
//! its own. TLVs are skipped. (nginx: listen ... proxy_protocol)

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::address::Remote;
use crate::client::Proxied;
use crate::config::{self, is_in};

/// Reads the header that must be there; `None` where the proxy speaks for itself (`LOCAL`) or does
/// not know (`UNKNOWN`). Bound its time.
///
/// # Errors
/// Close the connection: who may not say so has connected, or has said something else.
pub(super) async fn read(
    stream: &mut TcpStream,
    peer: Remote,
    settings: &config::ProxyProtocolIn,
) -> Result<Option<Proxied>, &'static str> {
    if !settings.from.is_empty() && !is_in(&settings.from, peer) {
        return Err("it may not use the PROXY protocol");
    }
    let mut header = Vec::with_capacity(V1_BYTES_MAX);
    // Either version is longer than this.
    take(stream, &mut header, SIGNATURE.len()).await?;
    if header == SIGNATURE {
        take(stream, &mut header, 4).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > V2_BYTES_MAX {
            return Err("its PROXY header is too long");
        }
        take(stream, &mut header, length).await?;
    } else if header.starts_with(b"PROXY ") {
        take_line(stream, &mut header).await?;
    } else {
        return Err("it sent no PROXY header");
    }
    let settings = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    let (parsed, length) =
        ProxyHeader::parse(&header, settings).map_err(|_| "its PROXY header is malformed")?;
    if length != header.len() {
        return Err("its PROXY header is malformed");
    }
    let stream = parsed.proxied_address().filter(|address| address.protocol == Protocol::Stream);
    Ok(stream.map(|address| Proxied { source: address.source, destination: address.destination }))
}

async fn take(
    stream: &mut TcpStream,
    header: &mut Vec<u8>,
    count: usize,
) -> Result<(), &'static str> {
    let from = header.len();
    header.resize(from + count, 0);
    stream.read_exact(&mut header[from..]).await.map_err(|_| GONE)?;
    Ok(())
}

/// The rest of a line, looked at before it is taken.
async fn take_line(stream: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut ahead = [0; V1_BYTES_MAX];
    while header.len() < V1_BYTES_MAX {
        let room = V1_BYTES_MAX - header.len();
        let there = stream.peek(&mut ahead[..room]).await.map_err(|_| GONE)?;
        if there == 0 {
            return Err(GONE);
        }
        let end = ahead[..there].iter().position(|byte| *byte == b'\n');
        take(stream, header, end.map_or(there, |end| end + 1)).await?;
        if end.is_some() {
            return Ok(());
        }
    }
    Err("its PROXY header is too long")
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// With the line end, as the specification has it.
const V1_BYTES_MAX: usize = 107;
/// Behind the first 16 bytes, addresses and TLVs; nginx takes 4096 in all.
const V2_BYTES_MAX: usize = 4080;
const GONE: &str = "it went away within the PROXY header";
