//! Names and passwords of basic authentication. (RFC 7617)

use http::HeaderValue;

/// The name and the password of `Authorization: Basic`; `None` if it is something else, or broken.
pub fn credentials(authorization: &HeaderValue) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = authorization.as_bytes().split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = base64(rest.trim_ascii_start())?;
    let colon = user.iter().position(|byte| *byte == b':')?;
    let password = user.split_off(colon + 1);
    user.truncate(colon);
    Some((user, password))
}

/// The bytes that some base64 stands for, up to the first `=`; padding may be missing. (RFC 4648 section 4)
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let length = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    if length % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(length / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in &text[..length] {
        bits = bits << 6 | base64_value(*byte)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

fn base64_value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
