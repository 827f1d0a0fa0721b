//! Rows as a snapshot's chunk has them: a msgpack array of (key, row, change id), read where it lies.
//!
//! A chunk comes over the network; everything is checked, and what is not as it should be is nobody's rows
//! here: Python reads the chunk then, and says what is wrong or does what it asks for.

use crate::write::Op;

/// A mark in the place of a row takes one byte, a row with columns more.
const MARK_BYTES: usize = 1;
const ROW_FIELDS: usize = 3;

/// The rows, if there is nothing but rows: no marks, and nothing behind them.
pub fn unpack(packed: &[u8]) -> Option<Vec<Op<'_>>> {
    let mut input = Input(packed);
    let count = input.array()?;
    // Each takes several bytes: a length that lies reserves no more than the chunk's own size.
    let mut rows = Vec::with_capacity(count.min(packed.len() / (ROW_FIELDS + 1)));
    for _ in 0..count {
        if input.array()? != ROW_FIELDS {
            return None;
        }
        let key = input.binary()?;
        let row = input.any()?;
        let change_id = input.unsigned()?;
        if row.len() <= MARK_BYTES {
            return None;
        }
        rows.push(Op {
            key,
            row: Some(row),
            change_id,
        });
    }
    input.0.is_empty().then_some(rows)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A big-endian number of 1, 2, 4 or 8 bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let digits = self.take(bytes)?;
        Some(
            digits
                .iter()
                .fold(0, |number, digit| number << 8 | u64::from(*digit)),
        )
    }

    fn length(&mut self, bytes: usize) -> Option<usize> {
        self.number(bytes)?.try_into().ok()
    }

    fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            mark @ 0x90..=0x9f => Some(usize::from(mark & 0x0f)),
            0xdc => self.length(2),
            0xdd => self.length(4),
            _ => None,
        }
    }

    fn binary(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            0xc4 => self.length(1),
            0xc5 => self.length(2),
            0xc6 => self.length(4),
            _ => None,
        }?;
        self.take(length)
    }

    fn unsigned(&mut self) -> Option<u64> {
        match self.byte()? {
            small @ 0x00..=0x7f => Some(u64::from(small)),
            0xcc => self.number(1),
            0xcd => self.number(2),
            0xce => self.number(4),
            0xcf => self.number(8),
            _ => None,
        }
    }

    /// The bytes of any one value. Nesting costs no stack: what is open is a number of values to come.
    fn any(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        let mut missing: usize = 1;
        while missing > 0 {
            missing -= 1;
            let inner = self.skip_head()?;
            missing = missing.checked_add(inner)?;
        }
        Some(&whole[..whole.len() - self.0.len()])
    }

    /// Steps over a value, or over the head of an array or a map; returns how many values that one holds.
    fn skip_head(&mut self) -> Option<usize> {
        let (bytes, values) = match self.byte()? {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            mark @ 0x80..=0x8f => (0, 2 * usize::from(mark & 0x0f)),
            mark @ 0x90..=0x9f => (0, usize::from(mark & 0x0f)),
            mark @ 0xa0..=0xbf => (usize::from(mark & 0x1f), 0),
            0xc1 => return None,
            0xc4 | 0xd9 => (self.length(1)?, 0),
            0xc5 | 0xda => (self.length(2)?, 0),
            0xc6 | 0xdb => (self.length(4)?, 0),
            0xc7 => (self.length(1)? + 1, 0),
            0xc8 => (self.length(2)? + 1, 0),
            0xc9 => (self.length(4)?.checked_add(1)?, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 | 0xd4 => (2, 0),
            0xd5 => (3, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xd6 => (5, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd7 => (9, 0),
            0xd8 => (17, 0),
            0xdc => (0, self.length(2)?),
            0xdd => (0, self.length(4)?),
            0xde => (0, 2 * self.length(2)?),
            0xdf => (0, self.length(4)?.checked_mul(2)?),
        };
        self.take(bytes)?;
        Some(values)
    }
}
