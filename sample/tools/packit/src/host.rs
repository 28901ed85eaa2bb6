// SPDX-License-Identifier: MIT

//! Making archives, on the host.

use packit::{MAGIC, VERSION};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// The archive of these files, by path.
pub fn pack(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let too_large = |_| Error::new(ErrorKind::InvalidInput, "too large for the format");
    let mut image = MAGIC.to_vec();
    image.extend(VERSION.to_le_bytes());
    image.extend(u32::try_from(files.len()).map_err(too_large)?.to_le_bytes());
    for (path, data) in files {
        image.extend(u16::try_from(path.len()).map_err(too_large)?.to_le_bytes());
        image.extend([0, 0]);
        image.extend((data.len() as u64).to_le_bytes());
        image.extend(path.as_bytes());
        image.extend(data);
    }
    Ok(image)
}

/// All files below a folder, by their path in it. Symbolic links are followed.
pub fn collect(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    add(folder, "", &mut files)?;
    Ok(files)
}

fn add(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let explain = |path: &Path, error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
    for entry in fs::read_dir(folder).map_err(|error| explain(folder, error))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{}: the name isn't UTF-8", path.display())));
        };
        let inner = format!("{prefix}{name}");
        if fs::metadata(&path).map_err(|error| explain(&path, error))?.is_dir() {
            add(&path, &format!("{inner}/"), files)?;
        } else {
            files.insert(inner, fs::read(&path).map_err(|error| explain(&path, error))?);
        }
    }
    Ok(())
}
