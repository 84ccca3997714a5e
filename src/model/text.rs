//! Bytes as text: hexadecimal and base64.

use base64::{Engine as _, prelude::BASE64_STANDARD};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hexadecimal digits, two a byte.
///
/// ```
/// assert_eq!(settee::model::hex(&[0x0f, 0xa0]), "0fa0");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        digits.push(char::from(DIGITS[usize::from(byte >> 4)]));
        digits.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    digits
}

/// The 16 bytes that 32 hexadecimal digits, of either case, stand for; `None` for anything else.
pub fn unhex(text: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

/// Base64 with padding, as JSON carries attachments.
pub fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// What a base64 text stands for; `None` where it is none, padding included.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_comes_back() {
        let bytes = *b"\x00\x01\x7f\x80\xff0123456789a";
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex(&hex(&bytes).to_uppercase()), Some(bytes));
        for bad in ["", "00", "+0000000000000000000000000000000", "0000000000000000000000000000000g"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }

    #[test]
    fn base64_is_strict() {
        assert_eq!(unbase64("aGk=").as_deref(), Some(&b"hi"[..]));
        assert_eq!(unbase64("").as_deref(), Some(&b""[..]));
        for bad in ["aGk", "aGk==", "a Gk=", "aGk=aGk=", "=", "====", "aG-_", "aGl="] {
            assert_eq!(unbase64(bad), None, "{bad}");
        }
    }
}
