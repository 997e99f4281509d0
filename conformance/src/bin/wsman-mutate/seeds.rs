//! The requests to damage: files of one request, or of whole exchanges.

use std::path::{Path, PathBuf};

/// A longer request is no use as a seed: damage would rarely hit what matters.
const SEED_OCTETS_MAX: usize = 32_768;
/// What stands before each request of a file with whole exchanges, and behind it.
const REQUEST: &str = "=== request\n";
const ANSWER: &str = "\n=== answer";

/// The bodies of all requests under these paths, in the order of their names.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    files.sort();
    let mut seeds = Vec::new();
    for file in files {
        let octets = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        seeds.extend(requests(&file, octets));
    }
    seeds.retain(|seed| !seed.is_empty() && seed.len() <= SEED_OCTETS_MAX);
    Ok(seeds)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let is_seed = entry.extension().is_some_and(|kind| kind == "xml" || kind == "txt" || kind == "http");
        if entry.is_dir() || is_seed {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

fn requests(file: &Path, octets: Vec<u8>) -> Vec<Vec<u8>> {
    let kind = file.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    let Ok(text) = std::str::from_utf8(&octets) else { return vec![octets] };
    match kind {
        "txt" => text
            .split(REQUEST)
            .skip(1)
            .filter_map(|part| part.split(ANSWER).next())
            .map(|request| request.trim().as_bytes().to_vec())
            .collect(),
        // The head of the recorded request is made anew.
        "http" => {
            let body = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).map_or("", |(_, body)| body);
            vec![body.as_bytes().to_vec()]
        }
        _ => vec![octets],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_out_of_exchanges() {
        let text = "role: viewer\n=== request\n<a/>\n=== answer\n<b/>\n=== request\n<c/>\n=== answer\n".to_owned();
        let found = requests(Path::new("x.txt"), text.into_bytes());
        assert_eq!(found, [b"<a/>".to_vec(), b"<c/>".to_vec()]);
        let http = requests(Path::new("x.http"), b"POST /wsman HTTP/1.1\nHost: h\n\n<a/>".to_vec());
        assert_eq!(http, [b"<a/>".to_vec()]);
    }
}
