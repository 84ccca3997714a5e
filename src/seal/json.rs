//! The JSON of sealed documents: objects of short names, texts without escapes and whole numbers, and
//! nothing else. Stricter than JSON on purpose: what is read has one meaning in every reader.

use super::Refusal;

/// How deep objects may lie in one another: the document, `x`, and no further.
const DEPTH: u32 = 2;

/// A value.
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Object(Members<'a>),
}

/// An object's members, each taken out once.
pub(super) struct Members<'a>(Vec<(&'a str, Value<'a>)>);

impl<'a> Members<'a> {
    /// Reads a text that is one such object and nothing after it.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut reader = Reader { text, at: 0 };
        let members = reader.object(DEPTH).ok_or(Refusal::Malformed)?;
        if reader.peek().is_some() { Err(Refusal::Malformed) } else { Ok(members) }
    }

    fn take(&mut self, name: &str) -> Result<Value<'a>, Refusal> {
        let at = self.0.iter().position(|(own, _)| *own == name).ok_or(Refusal::Malformed)?;
        Ok(self.0.swap_remove(at).1)
    }

    /// Whether there is a member of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| *own == name)
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Members<'a>, Refusal> {
        match self.take(name)? {
            Value::Object(members) => Ok(members),
            _ => Err(Refusal::Malformed),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<u64, Refusal> {
        match self.take(name)? {
            Value::Number(number) => Ok(number),
            _ => Err(Refusal::Malformed),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<&'a str, Refusal> {
        match self.take(name)? {
            Value::Text(text) => Ok(text),
            _ => Err(Refusal::Malformed),
        }
    }

    /// A member that is base64url.
    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Refusal> {
        super::text::unbase64url(self.text(name)?).ok_or(Refusal::Malformed)
    }

    /// A member that is N bytes in base64url.
    pub(super) fn array<const N: usize>(&mut self, name: &str) -> Result<[u8; N], Refusal> {
        self.bytes(name)?.try_into().map_err(|_| Refusal::Malformed)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Malformed) }
    }
}

/// Which bytes a text may have: those of base64url, which those of revisions and names are among.
#[allow(
    clippy::indexing_slicing,
    reason = "made while compiling, where an index that is out of bounds is an error"
)]
const IN_TEXT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let letter = byte as u8;
        table[byte] = letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
        byte += 1;
    }
    table
};

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> Option<&'a str> {
        let start = self.at;
        while self.text.as_bytes().get(self.at).is_some_and(|byte| belongs(*byte)) {
            self.at += 1;
        }
        self.text.get(start..self.at)
    }

    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let text = self.run(|byte| IN_TEXT.get(usize::from(byte)) == Some(&true))?;
        // No white space is passed over here: it is not of the alphabet.
        (self.text.as_bytes().get(self.at) == Some(&b'"')).then(|| self.at += 1)?;
        Some(text)
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.run(|byte| byte.is_ascii_digit())?;
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        digits.parse().ok()
    }

    fn object(&mut self, depth: u32) -> Option<Members<'a>> {
        let depth = depth.checked_sub(1)?;
        self.expect(b'{')?;
        let mut members: Vec<(&str, Value)> = Vec::new();
        while self.peek()? != b'}' {
            if !members.is_empty() {
                self.expect(b',')?;
            }
            let name = self.string()?;
            self.expect(b':')?;
            let value = match self.peek()? {
                b'"' => Value::Text(self.string()?),
                b'{' => Value::Object(self.object(depth)?),
                _ => Value::Number(self.number()?),
            };
            if members.iter().any(|(own, _)| *own == name) {
                return None;
            }
            members.push((name, value));
        }
        self.at += 1;
        Some(Members(members))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_reading() {
        let mut members = Members::parse(r#" { "a" : 10 , "b":0,"c":{"d":"x-_9"}, "e":{} } "#).unwrap();
        assert_eq!((members.number("a"), members.number("b")), (Ok(10), Ok(0)));
        assert!(members.end().is_err() && members.has("c") && !members.has("a"));
        let mut inner = members.object("c").unwrap();
        assert_eq!((inner.text("d"), inner.end()), (Ok("x-_9"), Ok(())));
        assert!(members.object("e").unwrap().end().is_ok() && members.end().is_ok());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"{,"a":1}"#,
            r#"{"a" 1}"#,
            r#"{a":1}"#,
            r#"{"a:1}"#,
            r#"{"a":01}"#,
            r#"{"a":00}"#,
            r#"{"a":}"#,
            r#"{"a":-1}"#,
            r#"{"a":1"#,
            r#"{"a":1}}"#,
            r#"{"a":1}{}"#,
            r#""a":1}"#,
            r#"{"a":{"b":{}}}"#,
            r#"{"a":"b c"}"#,
            r#"{"a":" b"}"#,
            r#"{"a":"b""#,
            r#"{"a":18446744073709551616}"#,
            "",
        ] {
            assert_eq!(Members::parse(bad).err(), Some(Refusal::Malformed), "{bad}");
        }
    }
}
