//! The texts to judge: files, folders and standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file, in bytes; nobody writes manifests of this size.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

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
    for path in given {
        if path.as_os_str() == "-" {
            inputs.push(Input { file: "standard input".to_owned(), text: read_text(io::stdin().lock()) });
        } else if path.is_dir() {
            read_folder(path, &mut inputs);
        } else {
            inputs.push(read_file(path));
        }
    }
    inputs
}

fn read_folder(folder: &Path, inputs: &mut Vec<Input>) {
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
        Ok(paths) => inputs.extend(paths.iter().map(|path| read_file(path))),
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

fn read_file(path: &Path) -> Input {
    Input {
        file: path.display().to_string(),
        text: File::open(path).map_err(|error| format!("cannot be read: {error}")).and_then(read_text),
    }
}

fn read_text(source: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    source
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("is larger than {LARGEST_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is no UTF-8 text".to_owned())
}
