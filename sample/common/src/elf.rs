// SPDX-License-Identifier: MIT

//! The part of ELF that a loader needs: the loadable segments of a 64-bit little-endian executable.

const LOAD: u32 = 1;
const HEADER_SIZE: u64 = 56;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Physical address.
    pub address: u64,
    /// Size in memory; the rest after the data is zero.
    pub size: u64,
    pub data: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    file: &'a [u8],
    pub entry: u64,
    headers: u64,
    count: u64,
}

fn bytes<const N: usize>(file: &[u8], at: u64) -> Option<[u8; N]> {
    let start = usize::try_from(at).ok()?;
    file.get(start..start.checked_add(N)?)?.try_into().ok()
}

fn word(file: &[u8], at: u64) -> Option<u64> {
    bytes(file, at).map(u64::from_le_bytes)
}

impl<'a> Elf<'a> {
    /// None when the file isn't such an ELF file.
    pub fn parse(file: &'a [u8]) -> Option<Self> {
        if !file.starts_with(b"\x7fELF\x02\x01") || bytes(file, 18).map(u16::from_le_bytes)? != 62 {
            return None;
        }
        if u64::from(bytes(file, 54).map(u16::from_le_bytes)?) != HEADER_SIZE {
            return None;
        }
        Some(Self {
            file,
            entry: word(file, 24)?,
            headers: word(file, 32)?,
            count: u64::from(bytes(file, 56).map(u16::from_le_bytes)?),
        })
    }

    /// The loadable segments; None in place of one whose data isn't in the file.
    pub fn segments(&self) -> impl Iterator<Item = Option<Segment<'a>>> {
        let Self { file, headers, count, .. } = *self;
        (0..count).filter_map(move |index| Self::segment(file, headers.checked_add(index * HEADER_SIZE)?))
    }

    fn segment(file: &'a [u8], at: u64) -> Option<Option<Segment<'a>>> {
        if bytes(file, at).map(u32::from_le_bytes) != Some(LOAD) {
            return None;
        }
        let read = || {
            let start = usize::try_from(word(file, at + 8)?).ok()?;
            let len = usize::try_from(word(file, at + 32)?).ok()?;
            let data = file.get(start..start.checked_add(len)?)?;
            let size = word(file, at + 40)?;
            (size >= data.len() as u64).then_some(Segment { address: word(file, at + 24)?, size, data })
        };
        Some(read())
    }
}
