//! TLS of the public listener, from files that somebody else renews.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use zeroize::Zeroizing;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// The largest file, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Why the files cannot be used. Nothing of their content is repeated.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One cannot be read.
    #[error("the file {} cannot be read: {problem}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
    /// There is no certificate in it, or something else than certificates.
    #[error("the file {} holds no chain of certificates in the form PEM (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificate(PathBuf),
    /// There is no private key in it.
    #[error("the file {} holds no private key in the form PEM (-----BEGIN PRIVATE KEY-----)", .0.display())]
    NoKey(PathBuf),
    /// They do not belong together, or cannot be used.
    #[error("the certificate {} and the key {} cannot be used together: {problem}", .certificate.display(), .key.display())]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What rustls said.
        problem: String,
    },
}

/// Who we are towards platforms. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
    made_of: Mutex<Contents>,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").field("certificate", &self.0.certificate).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the chain of certificates and the private key.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let contents = Contents::read(&certificate, &key)?;
        let current = RwLock::new(Arc::new(contents.config(&certificate, &key)?));
        Ok(Self(Arc::new(Inner { certificate, key, current, made_of: Mutex::new(contents) })))
    }

    /// For the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads the files again; returns whether anything has changed. Connections that are open go on.
    ///
    /// # Errors
    /// When they cannot be used; then everything stays as it was.
    pub fn read_again(&self) -> Result<bool, TlsError> {
        let inner = &self.0;
        let contents = Contents::read(&inner.certificate, &inner.key)?;
        let mut made_of = inner.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        if *made_of == contents {
            return Ok(false);
        }
        let config = contents.config(&inner.certificate, &inner.key)?;
        *inner.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        *made_of = contents;
        Ok(true)
    }

    /// Reads the files again and again, for as long as it runs. Files that cannot be used, such as a
    /// certificate whose key is not written yet, are told once, and what was read before stays in use.
    pub async fn follow(&self) -> Infallible {
        let mut trouble = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.read_again()).await {
                Ok(Ok(changed)) => {
                    if changed || trouble.is_some() {
                        info!("the certificate of the public listener was read again and is in use");
                    }
                    trouble = None;
                }
                Ok(Err(error)) => {
                    let text = error.to_string();
                    if trouble.as_ref() != Some(&text) {
                        warn!("{text}; what was read before stays in use");
                        trouble = Some(text);
                    }
                }
                Err(_) => warn!("reading the certificate of the public listener again has failed"),
            }
        }
    }
}

impl Contents {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            let unreadable =
                |error: io::Error| TlsError::Unreadable { path: path.to_owned(), problem: error.to_string() };
            let mut bytes = Vec::new();
            File::open(path)
                .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
                .map_err(unreadable)?;
            Ok(bytes)
        };
        Ok(Self { certificate: read(certificate)?, key: Zeroizing::new(read(key)?) })
    }

    fn config(&self, certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| TlsError::NoCertificate(certificate.to_owned()))?;
        let private =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::NoKey(key.to_owned()))?;
        let unusable = |error: rustls::Error| TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            problem: error.to_string(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(unusable)?;
        // HTTP/1.1 only: of HTTP/2 there are frames that cost us time and belong to no request.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn renewed_files_are_taken_and_halves_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let write = |(chain, private): (String, String)| {
            fs::write(&certificate, chain).unwrap();
            fs::write(&key, private).unwrap();
        };
        write(pair("a.example"));
        let tls = Tls::open(certificate.clone(), key.clone()).unwrap();
        assert!(!tls.read_again().unwrap());
        let other = pair("b.example");
        fs::write(&certificate, &other.0).unwrap();
        let error = tls.read_again().unwrap_err();
        assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
        fs::write(&key, &other.1).unwrap();
        assert!(tls.read_again().unwrap());
        fs::write(&key, "canary").unwrap();
        let error = tls.read_again().unwrap_err();
        assert!(matches!(error, TlsError::NoKey(_)) && !error.to_string().contains("canary"), "{error}");
        fs::write(&certificate, "").unwrap();
        assert!(matches!(tls.read_again(), Err(TlsError::NoCertificate(_))));
        fs::remove_file(&certificate).unwrap();
        assert!(matches!(tls.read_again(), Err(TlsError::Unreadable { .. })));
    }
}
