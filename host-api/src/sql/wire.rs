//! How values travel between guests and `lunatic::sqlite`: as the guest crate of Lunatic 0.13 writes and
//! reads them. Numbers are little-endian and have their full width; a length is a u64; a variant is a
//! u32, from 0 on; an option is a byte (0 or 1), then what it holds; a tuple is its fields.

use super::{ANSWER_BYTES_MAX, Failure};

/// A value of SQLite's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Blob(&'a [u8]),
    Text(&'a str),
    Double(f64),
    Integer(i64),
}

/// Which parameter a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// The one behind that of the value before; the first.
    Next,
    /// From 1 on.
    Index(u64),
    Name(&'a str),
}

/// Reads what is to be bound: a list of keys and values.
#[derive(Debug)]
pub(crate) struct BindList<'a> {
    rest: &'a [u8],
    left: u64,
}

impl<'a> BindList<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, String> {
        let mut list = Self { rest: bytes, left: 0 };
        list.left = list.u64("the number of values")?;
        Ok(list)
    }

    /// The next key and value.
    pub(crate) fn next(&mut self) -> Result<Option<(Key<'a>, Value<'a>)>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let key = match self.u32("a key's kind")? {
            0 => Key::Next,
            1 => Key::Index(self.u64("a parameter's number")?),
            2 => Key::Name(self.text("a parameter's name")?),
            kind => return Err(format!("there is no kind {kind} of keys")),
        };
        let value = match self.u32("a value's kind")? {
            0 => Value::Null,
            1 => Value::Blob(self.bytes("a blob")?),
            2 => Value::Text(self.text("a text")?),
            3 => Value::Double(f64::from_le_bytes(self.array("a double")?)),
            4 => Value::Integer(i32::from_le_bytes(self.array("an integer")?).into()),
            5 => Value::Integer(i64::from_le_bytes(self.array("an integer")?)),
            kind => return Err(format!("there is no kind {kind} of values")),
        };
        Ok(Some((key, value)))
    }

    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(format!(
                "{what} of {len} bytes does not fit the {} bytes that are left",
                self.rest.len()
            ));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        Ok(self.take(N, what)?.try_into().expect("so many were taken"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn bytes(&mut self, what: &str) -> Result<&'a [u8], String> {
        let len = self.u64(what)?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX), what)
    }

    fn text(&mut self, what: &str) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| format!("{what} is not UTF-8"))
    }
}

/// What is written for a guest; at most [`ANSWER_BYTES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Encoder {
    pub(crate) fn count(&mut self, count: usize) {
        self.put(&[&(count as u64).to_le_bytes()]);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.put(&[&(text.len() as u64).to_le_bytes(), text.as_bytes()]);
    }

    pub(crate) fn value(&mut self, value: Value<'_>) {
        let kind = |kind: u32| kind.to_le_bytes();
        let len = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
        match value {
            Value::Null => self.put(&[&kind(0)]),
            Value::Blob(blob) => self.put(&[&kind(1), &len(blob), blob]),
            Value::Text(text) => self.put(&[&kind(2), &len(text.as_bytes()), text.as_bytes()]),
            Value::Double(number) => self.put(&[&kind(3), &number.to_le_bytes()]),
            Value::Integer(number) => self.put(&[&kind(4), &number.to_le_bytes()]),
        }
    }

    /// An error: its code and its text, both options.
    pub(crate) fn failure(&mut self, failure: Option<&Failure>) {
        match failure {
            None => self.put(&[&[0, 0]]),
            Some(failure) => {
                self.put(&[&[1], &failure.code.to_le_bytes(), &[1]]);
                self.text(&failure.message);
            }
        }
    }

    fn put(&mut self, parts: &[&[u8]]) {
        let more: usize = parts.iter().map(|part| part.len()).sum();
        self.is_full |= self.bytes.len() + more > ANSWER_BYTES_MAX;
        if !self.is_full {
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        }
    }

    /// What was written, if there was room for all.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.is_full).then_some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWER_BYTES_MAX, BindList, Encoder, Failure, Key, Value};

    fn list(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn a_list_is_read_as_the_guest_crate_writes_it() {
        let bytes = list(&[
            &3u64.to_le_bytes(),
            &[1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'n', 0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'h', b'i'],
        ]);
        let mut list = BindList::new(&bytes).expect("a count");
        assert_eq!(list.next(), Ok(Some((Key::Index(7), Value::Integer(-1)))));
        assert_eq!(list.next(), Ok(Some((Key::Name("n"), Value::Null))));
        assert_eq!(list.next(), Ok(Some((Key::Next, Value::Text("hi")))));
        assert_eq!(list.next(), Ok(None));
        for cut in 0..bytes.len() {
            let read = BindList::new(&bytes[..cut]).and_then(|mut list| {
                while list.next()?.is_some() {}
                Ok(())
            });
            assert!(read.is_err(), "cut off at {cut}");
        }
    }

    #[test]
    fn what_is_no_list_is_said_to_be_none() {
        for bytes in [
            list(&[&1u64.to_le_bytes(), &[9, 0, 0, 0]]),
            list(&[&1u64.to_le_bytes(), &[0, 0, 0, 0], &[9, 0, 0, 0]]),
            list(&[&1u64.to_le_bytes(), &[0, 0, 0, 0], &[1, 0, 0, 0], &[0xff; 8]]),
            list(&[&1u64.to_le_bytes(), &[2, 0, 0, 0], &1u64.to_le_bytes(), &[0xff]]),
            list(&[&u64::MAX.to_le_bytes()]),
        ] {
            let mut list = BindList::new(&bytes).expect("a count");
            assert!(list.next().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn values_are_written_as_the_guest_crate_reads_them() {
        let mut encoder = Encoder::default();
        encoder.count(2);
        encoder.value(Value::Integer(-2));
        encoder.value(Value::Blob(b"x"));
        let bytes = encoder.finish().expect("it fits");
        let expected = list(&[
            &2u64.to_le_bytes(),
            &[4, 0, 0, 0],
            &(-2i64).to_le_bytes(),
            &[1, 0, 0, 0],
            &1u64.to_le_bytes(),
            b"x",
        ]);
        assert_eq!(bytes, expected);
        let mut encoder = Encoder::default();
        encoder.failure(Some(&Failure::new(19, "no")));
        let bytes = encoder.finish().expect("it fits");
        assert_eq!(bytes, [1, 19, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, b'n', b'o']);
        let mut encoder = Encoder::default();
        encoder.value(Value::Blob(&vec![0; ANSWER_BYTES_MAX]));
        encoder.value(Value::Null);
        assert_eq!(encoder.finish(), None);
    }
}
