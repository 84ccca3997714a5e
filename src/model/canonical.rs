//! The form of a document that its revision id is made from.
//!
//! The same edit must get the same revision on every device, so what is hashed may not depend on the
//! order in which a program happened to write an object's members, on white space, or on how a string
//! was escaped. Numbers are hashed as they are written: `1.0` and `1` are kept apart, as they are kept.
//!
//! ```text
//! value  = 'n' | 't' | 'f' | '#' text NUL | 's' string | '[' value* ']' | '{' (string value)* '}'
//! string = length (4 bytes, little-endian) UTF-8          members sorted by their encoded bytes
//! ```

use crate::{
    error::{Error, Result},
    model::{Digest, sort_by},
};

/// How deep objects and arrays may nest. CouchDB sets no limit; every reader of JSON has one.
pub const MAX_DEPTH: usize = 1000;

/// The digest of a JSON text's canonical form.
///
/// Shape:  `json` is one JSON value, already known to be well-formed.
/// Errors: 400 `bad_request` if it nests deeper than [`MAX_DEPTH`] or a string holds half of a
/// surrogate pair.
pub fn digest(json: &str) -> Result<Digest> {
    let mut out = Vec::with_capacity(json.len());
    let mut reader = Reader { text: json.as_bytes(), at: 0, takes_twice: true };
    reader.value(&mut out, 0)?;
    Ok(Digest::of(&out))
}

/// A JSON text's canonical form itself.
///
/// Shape:  as [`digest`].
/// Errors: as [`digest`], and 400 `bad_request` if an object has two members of one name: readers do not
/// agree which of them counts.
pub fn form(json: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let mut reader = Reader { text: json.as_bytes(), at: 0, takes_twice: false };
    reader.value(&mut out, 0)?;
    Ok(out)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether an object may have two members of one name.
    takes_twice: bool,
}

/// A member's encoded name: its length and its bytes.
fn name(member: &[u8]) -> &[u8] {
    let length = member.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    member.get(..4 + length).unwrap_or(member)
}

fn malformed() -> Error {
    Error::bad_request("invalid UTF-8 JSON")
}

impl Reader<'_> {
    fn peek(&mut self) -> Result<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(malformed())
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::bad_request(format!("The document nests deeper than {MAX_DEPTH} levels.")));
        }
        match self.peek()? {
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => {
                out.push(b's');
                self.string(out)
            }
            first @ (b't' | b'f' | b'n') => {
                out.push(first);
                self.at += if first == b'f' { 5 } else { 4 };
                Ok(())
            }
            _ => {
                out.push(b'#');
                let start = self.at;
                while let Some(byte) = self.text.get(self.at)
                    && !matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t')
                {
                    self.at += 1;
                }
                if start == self.at {
                    return Err(malformed());
                }
                out.extend_from_slice(&self.text[start..self.at]);
                out.push(0);
                Ok(())
            }
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        out.push(b'[');
        self.at += 1;
        while self.peek()? != b']' {
            if self.peek()? == b',' {
                self.at += 1;
            }
            self.value(out, depth + 1)?;
        }
        self.at += 1;
        out.push(b']');
        Ok(())
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        out.push(b'{');
        self.at += 1;
        let base = out.len();
        let mut members: Vec<(usize, usize)> = Vec::new();
        let mut sorted = true;
        while self.peek()? != b'}' {
            if self.peek()? == b',' {
                self.at += 1;
                self.peek()?;
            }
            let start = out.len();
            self.string(out)?;
            if self.peek()? != b':' {
                return Err(malformed());
            }
            self.at += 1;
            self.value(out, depth + 1)?;
            if let Some(&(from, to)) = members.last() {
                sorted &= out[from..to] <= out[start..];
            }
            members.push((start, out.len()));
        }
        self.at += 1;
        if !sorted {
            sort_by(&mut members, |a, b| out[a.0..a.1].cmp(&out[b.0..b.1]));
            let mut moved = Vec::with_capacity(out.len() - base);
            for &(from, to) in &members {
                moved.extend_from_slice(&out[from..to]);
            }
            out.truncate(base);
            out.extend_from_slice(&moved);
        }
        if !self.takes_twice {
            let (mut rest, mut before) = (&out[base..], None);
            for (from, to) in members {
                let (member, after) = rest.split_at(to - from);
                if before.replace(name(member)) == Some(name(member)) {
                    return Err(Error::bad_request("The document has two members of one name."));
                }
                rest = after;
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes a string's length and its bytes, unescaped.
    fn string(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.text.get(self.at) != Some(&b'"') {
            return Err(malformed());
        }
        self.at += 1;
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        loop {
            let start = self.at;
            while self.text.get(self.at).is_some_and(|byte| !matches!(byte, b'"' | b'\\')) {
                self.at += 1;
            }
            out.extend_from_slice(&self.text[start..self.at]);
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(_) => self.escape(out)?,
                None => return Err(malformed()),
            }
        }
        self.at += 1;
        let length = u32::try_from(out.len() - length_at - 4).map_err(|_| malformed())?;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let letter = *self.text.get(self.at + 1).ok_or_else(malformed)?;
        self.at += 2;
        let plain = match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => {
                let half =
                    || Error::bad_request("The document holds half of a surrogate pair, which is no text.");
                let mut code = self.hex()?;
                if (0xd800..0xdc00).contains(&code) {
                    if self.text.get(self.at..self.at + 2) != Some(b"\\u") {
                        return Err(half());
                    }
                    self.at += 2;
                    let low = self.hex()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(half());
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                let char = char::from_u32(code).ok_or_else(half)?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            other => other,
        };
        out.push(plain);
        Ok(())
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(malformed)?;
        self.at += 4;
        let digits = std::str::from_utf8(digits).map_err(|_| malformed())?;
        u32::from_str_radix(digits, 16).map_err(|_| malformed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_space_and_escapes_do_not_matter() {
        let a = digest(r#"{"b":[1,{"y":null,"x":true}],"a":"\u00e9\n"}"#).unwrap();
        let b =
            digest("{ \"a\" : \"é\\u000a\" ,\n \"b\" : [ 1 , { \"x\" : true , \"y\" : null } ] }").unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn everything_else_does() {
        let texts = [
            "{}",
            "[]",
            "[[]]",
            "{\"a\":1}",
            "{\"a\":1.0}",
            "{\"a\":\"1\"}",
            "{\"a\":[1]}",
            "{\"a\":{\"b\":1}}",
            "{\"a\":null}",
            "{\"b\":1}",
            "[1,2]",
            "[2,1]",
            "[12]",
            "[\"a\",\"b\"]",
            "[\"ab\"]",
        ];
        for (i, a) in texts.iter().enumerate() {
            for b in &texts[i + 1..] {
                assert_ne!(digest(a).unwrap(), digest(b).unwrap(), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_form_knows_no_member_twice() {
        assert_eq!(form(r#"{"b":1,"a":{"x":null}}"#).unwrap(), form(r#"{"a":{"x":null},"b":1}"#).unwrap());
        for twice in [r#"{"a":1,"a":2}"#, r#"{"a":1,"b":2,"\u0061":1}"#, r#"[{"x":{"":1,"":1}}]"#] {
            assert_eq!(form(twice).unwrap_err().status(), 400, "{twice}");
            assert!(digest(twice).is_ok(), "{twice}");
        }
        assert!(form(r#"{"a":1,"aa":1,"A":1,"":1}"#).is_ok());
    }

    #[test]
    fn surrogates_come_in_pairs() {
        assert_eq!(digest(r#""\ud83d\ude00""#).unwrap(), digest("\"😀\"").unwrap());
        for bad in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#"{"\ud800":1}"#] {
            assert_eq!(digest(bad).unwrap_err().status(), 400, "{bad}");
        }
    }

    #[test]
    fn depth_is_limited_without_a_stack_overflow() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(digest(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(digest(&nested(5000)).unwrap_err().status(), 400);
    }
}
