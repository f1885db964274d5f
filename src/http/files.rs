//! The files that the client is set up from: issuers to trust, and credentials for the proxy.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reqwest::Certificate;
use reqwest::header::HeaderValue;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use super::proxy::{InvalidCredentials, authorization};
use crate::secret::SecretText;

/// The largest file, in bytes. All issuers that browsers trust take a quarter of it.
const LARGEST: usize = 1024 * 1024;

/// Which files there are. They are read at the start, and again while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Certificates (PEM) of issuers that are trusted besides the system's.
    pub issuers: Option<PathBuf>,
    /// `user:password` for the proxy.
    pub proxy_credentials: Option<PathBuf>,
}

/// Why a file cannot be used. Its content is not repeated.
#[derive(Debug, Error)]
#[error("the {role} {} {problem}", .path.display())]
pub struct FileError {
    role: &'static str,
    path: PathBuf,
    problem: FileProblem,
}

/// What is wrong with a file; it goes on after its name.
#[derive(Debug, Error)]
enum FileProblem {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is larger than 1 MiB")]
    TooLarge,
    #[error("is no UTF-8 text")]
    NoText,
    #[error("holds no certificate; what is read begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    #[error("is in the form DER; turn it into PEM with: openssl x509 -inform der -in FILE -out FILE.pem")]
    Der,
    #[error("is damaged at its certificate number {0}: it is cut short, or no base64")]
    Damaged(usize),
    #[error("has something else than an X.509 certificate as its certificate number {0}")]
    NotX509(usize),
    #[error(transparent)]
    Credentials(InvalidCredentials),
}

/// What the files hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    issuers: Option<Vec<u8>>,
    proxy_credentials: Option<SecretText>,
}

/// What the files mean.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) issuers: Vec<Certificate>,
    pub(super) proxy_authorization: Option<HeaderValue>,
}

impl Files {
    /// Whether there is any.
    pub(super) fn are_given(&self) -> bool {
        self.issuers.is_some() || self.proxy_credentials.is_some()
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Result<(Contents, Parts), FileError> {
        let mut contents = Contents::default();
        let mut parts = Parts::default();
        if let Some(path) = &self.issuers {
            let failed = |problem| FileError { role: "CA file", path: path.clone(), problem };
            let bytes = read(path).map_err(failed)?;
            parts.issuers = certificates(&bytes).map_err(failed)?;
            contents.issuers = Some(bytes);
        }
        if let Some(path) = &self.proxy_credentials {
            let failed =
                |problem| FileError { role: "file of the proxy's credentials", path: path.clone(), problem };
            let text = read(path).and_then(secret_text).map_err(failed)?;
            let value = authorization(&text).map_err(|error| failed(FileProblem::Credentials(error)))?;
            parts.proxy_authorization = Some(value);
            contents.proxy_credentials = Some(text);
        }
        Ok((contents, parts))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileProblem> {
    let unreadable = |error: io::Error| FileProblem::Unreadable(error.to_string());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > LARGEST { Err(FileProblem::TooLarge) } else { Ok(bytes) }
}

fn secret_text(bytes: Vec<u8>) -> Result<SecretText, FileProblem> {
    String::from_utf8(bytes).map(SecretText::new).map_err(|_| FileProblem::NoText)
}

/// All certificates of a file; other things in it, such as keys and remarks, are passed over.
fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, FileProblem> {
    let mut found = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(bytes).enumerate() {
        let number = index + 1;
        let certificate = certificate.map_err(|_| FileProblem::Damaged(number))?;
        let usable = RootCertStore::empty().add(certificate.clone()).is_ok();
        let usable = usable.then(|| Certificate::from_der(&certificate).ok()).flatten();
        found.push(usable.ok_or(FileProblem::NotX509(number))?);
    }
    match bytes.first() {
        _ if !found.is_empty() => Ok(found),
        // What every certificate begins with in DER: a sequence.
        Some(0x30) => Err(FileProblem::Der),
        _ => Err(FileProblem::NoCertificate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap()
    }

    fn said(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, content).unwrap();
        let files = Files { issuers: Some(path.clone()), proxy_credentials: None };
        let text = files.read().err().unwrap().to_string();
        text.strip_prefix(&format!("the CA file {} ", path.display())).unwrap().to_owned()
    }

    #[test]
    fn several_certificates_stand_in_one_file() {
        let (one, two) = (certificate("a.example"), certificate("b.example"));
        let text =
            format!("# ours\n{}\n{}{}", one.cert.pem(), one.signing_key.serialize_pem(), two.cert.pem());
        assert_eq!(certificates(text.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name_and_without_its_content() {
        let good = certificate("a.example");
        let pem = good.cert.pem();
        let wrong = "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n";
        let cut = &pem[..pem.len() / 2];
        for (content, begin) in [
            (Vec::new(), "holds no certificate"),
            (b"canary".to_vec(), "holds no certificate"),
            (good.signing_key.serialize_pem().into_bytes(), "holds no certificate"),
            (good.cert.der().to_vec(), "is in the form DER"),
            (cut.into(), "is damaged at its certificate number 1"),
            (format!("{pem}{cut}").into(), "is damaged at its certificate number 2"),
            (
                format!("{pem}{wrong}").into(),
                "has something else than an X.509 certificate as its certificate number 2",
            ),
            (vec![b'#'; LARGEST + 1], "is larger than 1 MiB"),
        ] {
            let said = said(&content);
            assert!(said.starts_with(begin), "{said}");
            assert!(!said.contains("canary") && !said.contains("Y2FuYXJ5"), "{said}");
        }
        let missing = Files { issuers: Some("/nonexistent/ca.pem".into()), proxy_credentials: None };
        let said = missing.read().err().unwrap().to_string();
        assert_eq!(
            said,
            "the CA file /nonexistent/ca.pem cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn credentials_of_the_proxy_are_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy");
        let files = Files { issuers: None, proxy_credentials: Some(path.clone()) };
        std::fs::write(&path, "user:password\n").unwrap();
        assert!(files.read().is_ok_and(|(_, parts)| parts.proxy_authorization.is_some()));
        for content in ["canary", "", ":canary", "user:canary\nmore"] {
            std::fs::write(&path, content).unwrap();
            let said = files.read().err().unwrap().to_string();
            let expected = format!(
                "the file of the proxy's credentials {} holds no credentials; write one line with `user:password`",
                path.display()
            );
            assert_eq!(said, expected);
        }
    }
}
