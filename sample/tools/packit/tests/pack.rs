// SPDX-License-Identifier: MIT

//! Create and read archives. The writer belongs to the program, which needs a feature, so it is included here.

#[path = "../src/host.rs"]
mod host;

use packit::{Archive, Entry, Error};
use std::collections::BTreeMap;
use std::fs;

fn sample() -> BTreeMap<String, Vec<u8>> {
    [("test/b", "two"), ("init", "one"), ("test/a", "")]
        .map(|(path, data)| (path.to_string(), data.as_bytes().to_vec()))
        .into()
}

#[test]
fn entries_are_sorted_and_come_back() {
    let image = host::pack(&sample()).unwrap();
    let entries: Vec<_> = Archive::open(&image).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(entries.iter().map(|entry| entry.path).collect::<Vec<_>>(), ["init", "test/a", "test/b"]);
    assert_eq!(entries.iter().map(|entry| entry.data).collect::<Vec<_>>(), [&b"one"[..], b"", b"two"]);
}

fn last(image: &[u8]) -> Result<Entry<'_>, Error> {
    Archive::open(image).unwrap().last().unwrap()
}

#[test]
fn broken_archives_are_refused() {
    let image = host::pack(&sample()).unwrap();
    assert_eq!(last(&image[..image.len() - 1]), Err(Error::Length));
    assert_eq!(last(&[&image[..], b"x"].concat()), Err(Error::Length));
    assert_eq!(Archive::open(b"PACKSVSM\x01\0\0\0\0\0\0\0").err(), Some(Error::Format));
}

#[test]
fn a_folder_is_collected() {
    let folder = std::env::temp_dir().join(format!("packit-test-{}", std::process::id()));
    for (path, data) in sample() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    let collected = host::collect(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(collected.unwrap(), sample());
    assert!(host::collect(&folder).is_err());
}
