//! The scan for heads that can be read in two ways.
//!
//! The verdict is the same however the bytes are cut, and the one that a plain reading of the whole
//! gives.

use larder::listener::head::HeadScan;

/// Holds `data` to it: the first byte says how the rest is cut; at a byte 0xff the next head begins.
pub fn check(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let expected = is_ambiguous(stream);
    assert_eq!(scanned(stream, |_| usize::MAX), expected, "whole");
    assert_eq!(scanned(stream, |_| 1), expected, "byte by byte");
    // Lengths that look like chance and are always the same.
    let mut state = u32::from(*first);
    let uneven = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27) as usize
    };
    assert_eq!(scanned(stream, uneven), expected, "cut by {first}");
}

/// The verdict after feeding pieces whose lengths `cut` gives.
fn scanned(stream: &[u8], mut cut: impl FnMut(usize) -> usize) -> bool {
    let mut scan = HeadScan::default();
    for (number, head) in stream.split(|byte| *byte == NEXT_HEAD).enumerate() {
        if number > 0 {
            scan.at_head();
        }
        let mut rest = head;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut(rest.len()).clamp(1, rest.len()));
            scan.feed(piece);
            rest = after;
        }
    }
    scan.is_ambiguous()
}

/// The same question, answered by somebody who has it all before him.
fn is_ambiguous(stream: &[u8]) -> bool {
    let (mut heads, mut goes_on) = (Vec::new(), false);
    stream.split(|byte| *byte == NEXT_HEAD).any(|part| {
        if !goes_on {
            heads.clear();
        }
        heads.extend_from_slice(part);
        let ambiguous;
        (ambiguous, goes_on) = verdict(&heads);
        ambiguous
    })
}

/// Whether one of some heads is ambiguous, and whether the last one has begun and not ended.
fn verdict(heads: &[u8]) -> (bool, bool) {
    let mut lines: Vec<&[u8]> = heads.split(|byte| *byte == b'\n').collect();
    // What no line feed ends is no line yet.
    let begun = lines.pop().is_some_and(|rest| !rest.is_empty());
    let (mut framing, mut has_line) = (0, false);
    for line in lines {
        if !line.ends_with(b"\r") {
            return (true, false);
        }
        let line = line.to_ascii_lowercase();
        let frames =
            line.starts_with(b"content-length:") || line.starts_with(b"transfer-encoding:");
        framing += usize::from(frames);
        has_line = line != b"\r";
        if !has_line && framing > 0 {
            return (framing > 1, false);
        }
    }
    (false, begun || has_line)
}

/// No byte of UTF-8, so that seeds stay texts.
const NEXT_HEAD: u8 = 0xff;
