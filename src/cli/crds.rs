//! `hookkeeper crds`: the definitions of the custom resources.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::output;
use crate::api::crd;

/// Prints the CustomResourceDefinitions as YAML.
#[derive(Debug, clap::Args)]
pub struct CrdsArgs {
    /// Write one file for each kind into this folder instead.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// Prints or writes the definitions.
///
/// # Errors
/// When standard output or the folder cannot be written to.
pub fn run(args: CrdsArgs) -> anyhow::Result<ExitCode> {
    match args.write {
        Some(folder) => {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            for kind in crd::KINDS {
                let path = folder.join(crd::file_name(kind));
                std::fs::write(&path, crd::yaml(kind)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        None => print(&mut output::standard())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(output: &mut impl Write) -> anyhow::Result<()> {
    for (index, kind) in crd::KINDS.into_iter().enumerate() {
        if index > 0 {
            writeln!(output, "---")?;
        }
        output.write_all(crd::yaml(kind)?.as_bytes())?;
    }
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_one_document_for_each_kind() {
        let mut output = Vec::new();
        print(&mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text.matches("kind: CustomResourceDefinition").count(), crd::KINDS.len());
        assert_eq!(text.matches("\n---\n").count(), crd::KINDS.len() - 1);
    }

    #[test]
    fn writes_one_file_for_each_kind() {
        let folder = tempfile::tempdir().unwrap();
        let write = folder.path().join("crds");
        run(CrdsArgs { write: Some(write.clone()) }).unwrap();
        for kind in crd::KINDS {
            let written = std::fs::read_to_string(write.join(crd::file_name(kind))).unwrap();
            assert_eq!(written, crd::yaml(kind).unwrap());
        }
    }
}
