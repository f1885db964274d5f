//! The texts to judge: files, folders and standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that is read, in bytes; nobody writes manifests of this size.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// The most files of a folder that are read.
const MOST_FILES: usize = 10_000;

/// A text, or why there is none.
pub(super) struct Input {
    /// Name of the file as it was given or found.
    pub file: String,
    /// Its content, or a sentence for people.
    pub text: Result<String, String>,
}

/// Reads everything; what cannot be read is reported in its place.
pub(super) fn read(given: &[PathBuf]) -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut room = MOST_BYTES;
    for path in given {
        if path.as_os_str() == "-" {
            let text = read_text(io::stdin().lock(), &mut room);
            inputs.push(Input { file: "standard input".to_owned(), text });
        } else if path.is_dir() {
            read_folder(path, &mut room, &mut inputs);
        } else {
            inputs.push(read_file(path, &mut room));
        }
    }
    inputs
}

fn read_folder(folder: &Path, room: &mut u64, inputs: &mut Vec<Input>) {
    let manifests = std::fs::read_dir(folder).and_then(|entries| {
        let mut paths =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| is_manifest(path));
        // The order of a folder differs between machines.
        paths.sort();
        Ok(paths)
    });
    match manifests {
        Ok(paths) if paths.is_empty() => inputs.push(Input {
            file: folder.display().to_string(),
            text: Err("holds no .yaml, .yml or .json file".to_owned()),
        }),
        Ok(paths) if paths.len() > MOST_FILES => inputs.push(Input {
            file: folder.display().to_string(),
            text: Err(format!("holds more than {MOST_FILES} manifest files")),
        }),
        Ok(paths) => inputs.extend(paths.iter().map(|path| read_file(path, room))),
        Err(error) => inputs.push(Input {
            file: folder.display().to_string(),
            text: Err(format!("cannot be read: {error}")),
        }),
    }
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let known = path
        .extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
    !hidden && known && path.is_file()
}

fn read_file(path: &Path, room: &mut u64) -> Input {
    Input {
        file: path.display().to_string(),
        text: File::open(path)
            .map_err(|error| format!("cannot be read: {error}"))
            .and_then(|file| read_text(file, room)),
    }
}

/// Reads a text into the room that all of them have together.
fn read_text(source: impl Read, room: &mut u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = source.take(*room + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    *room = room
        .checked_sub(bytes.len() as u64)
        .ok_or_else(|| format!("is not read: together the files are larger than {MOST_BYTES} bytes"))?;
    String::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())
}
