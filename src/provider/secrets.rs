//! Reading Secrets, and where their values may go.

use crate::api::{SecretKeyReference, SourcedValue};
use crate::engine::ports::{Refusal, SecretValue, Secrets};
use crate::secret::SecretText;

/// Reads the Secrets of one namespace.
pub(super) struct SecretReader<'a> {
    pub(super) secrets: &'a dyn Secrets,
    pub(super) namespace: &'a str,
}

impl SecretReader<'_> {
    /// Reads a value that is to be sent to these hosts.
    ///
    /// # Errors
    /// There is no such value, it cannot be read, or it must not go to one of the hosts.
    pub(super) async fn read(
        &self,
        reference: &SecretKeyReference,
        hosts: &[&str],
    ) -> Result<SecretValue, Refusal> {
        self.secrets.read_for(self.namespace, reference, hosts).await
    }

    /// A value that is written out or in a Secret.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) async fn value(
        &self,
        written: Option<&str>,
        from: Option<&SecretKeyReference>,
        hosts: &[&str],
    ) -> Result<SecretText, Refusal> {
        match from {
            Some(reference) => Ok(self.read(reference, hosts).await?.text),
            None => Ok(SecretText::from(written.unwrap_or_default())),
        }
    }

    /// As [`Self::value`].
    pub(super) async fn sourced(&self, value: &SourcedValue, hosts: &[&str]) -> Result<SecretText, Refusal> {
        let from = value.value_from.as_ref().map(|from| &from.secret_key_ref);
        self.value(value.value.as_deref(), from, hosts).await
    }
}
