// SPDX-License-Identifier: MIT

//! The file-system image: a plain archive, read in place.
//!
//! All numbers are little endian, nothing is padded, and nothing follows the last entry.
//!
//! | part    | bytes    | what                                             |
//! |---------|----------|--------------------------------------------------|
//! | header  | 8        | `SVSMPACK`                                       |
//! |         | 4        | format version, 1                                |
//! |         | 4        | number of entries                                |
//! | entry   | 2        | length of the path                               |
//! |         | 2        | zero                                             |
//! |         | 8        | length of the data                               |
//! |         |          | path: UTF-8, relative, `/` between parts         |
//! |         |          | data                                             |
//!
//! Entries are sorted by the bytes of their paths. There are no times, owners or modes, so that the same files make the
//! same image.

#![no_std]

pub const MAGIC: &[u8; 8] = b"SVSMPACK";
pub const VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes are not an archive of this version.
    Format,
    /// The archive ends too early, or continues after its end.
    Length,
    /// A path isn't UTF-8, or is empty.
    Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub path: &'a str,
    pub data: &'a [u8],
}

/// An archive in memory; iterating it gives its entries, and ends after the first error.
#[derive(Clone, Debug)]
pub struct Archive<'a> {
    rest: &'a [u8],
    left: u32,
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Error> {
    let (head, tail) = rest.split_at_checked(len).ok_or(Error::Length)?;
    *rest = tail;
    Ok(head)
}

fn number(rest: &mut &[u8], len: usize) -> Result<u64, Error> {
    Ok(take(rest, len)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

impl<'a> Archive<'a> {
    pub fn open(image: &'a [u8]) -> Result<Self, Error> {
        let mut rest = image.strip_prefix(MAGIC).ok_or(Error::Format)?;
        if number(&mut rest, 4)? != u64::from(VERSION) {
            return Err(Error::Format);
        }
        let left = number(&mut rest, 4)? as u32;
        Ok(Self { rest, left })
    }

    fn read(&mut self) -> Result<Entry<'a>, Error> {
        let path_len = number(&mut self.rest, 2)? as usize;
        if number(&mut self.rest, 2)? != 0 {
            return Err(Error::Format);
        }
        let data_len = usize::try_from(number(&mut self.rest, 8)?).map_err(|_| Error::Length)?;
        let path = core::str::from_utf8(take(&mut self.rest, path_len)?).map_err(|_| Error::Path)?;
        if path.is_empty() {
            return Err(Error::Path);
        }
        Ok(Entry { path, data: take(&mut self.rest, data_len)? })
    }
}

impl<'a> Iterator for Archive<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let rest = core::mem::take(&mut self.rest);
            return (!rest.is_empty()).then_some(Err(Error::Length));
        }
        self.left -= 1;
        let entry = self.read();
        if entry.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(entry)
    }
}
