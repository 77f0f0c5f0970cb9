//! `Range`: any bytes, for a body of any length.
//!
//! The parts lie within the body, none is empty; what is unsatisfiable names no byte that there is.

use std::ops::Range;

use larder::semantics::range::{Wanted, wanted};

use crate::message::number;

/// Holds `data` to it: the first line is the length of the body, the rest is the value.
pub fn check(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let length = number(&data[..line]).unwrap_or(LENGTH);
    let value = data[line..].trim_ascii();
    let found = wanted(value, length);
    assert_eq!(wanted(&[b" ", value, b"\t"].concat(), length), found, "blanks around it");
    for part in parts(&found) {
        assert!(part.start < part.end && part.end <= length, "{part:?} of {length}");
    }
    if found != Wanted::Whole {
        assert!(value[..6].eq_ignore_ascii_case(b"bytes="), "another unit");
        assert!(value.contains(&b'-') && value.iter().any(u8::is_ascii_digit));
        assert_eq!(wanted(value, 0), Wanted::Unsatisfiable, "nothing is in nothing");
    }
    if let Wanted::Part(part) = &found {
        // The same part, asked for by its positions.
        let exact = format!("bytes={}-{}", part.start, part.end - 1);
        assert_eq!(wanted(exact.as_bytes(), length), found);
    }
}

/// All parts of an answer, in order.
fn parts(wanted: &Wanted) -> Vec<Range<u64>> {
    match wanted {
        Wanted::Part(part) => vec![part.clone()],
        Wanted::Whole | Wanted::Unsatisfiable => Vec::new(),
    }
}

/// Of a body whose length is not said.
const LENGTH: u64 = 1000;
