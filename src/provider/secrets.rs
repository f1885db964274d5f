//! Reading Secrets, and where their values may go.

use crate::api::{NamedValue, SecretKeyReference, SourcedValue};
use crate::engine::ports::{Refusal, SecretValue, Secrets};
use crate::http::prefixed;
use crate::secret::SecretText;

/// Reads the Secrets of one namespace.
pub(super) struct SecretReader<'a> {
    pub(super) secrets: &'a dyn Secrets,
    pub(super) namespace: &'a str,
}

impl SecretReader<'_> {
    /// Reads a value that is to be sent to these hosts in a header, where no line end can stand.
    ///
    /// # Errors
    /// There is no such value, it cannot be read, or it must not go to one of the hosts.
    pub(super) async fn read(
        &self,
        reference: &SecretKeyReference,
        hosts: &[&str],
    ) -> Result<SecretValue, Refusal> {
        let value = self.secrets.read_for(self.namespace, reference, hosts).await?;
        Ok(SecretValue { text: value.text.without_line_end(), ..value })
    }

    /// A value that is written out or in a Secret.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) async fn sourced(&self, value: &SourcedValue, hosts: &[&str]) -> Result<SecretText, Refusal> {
        match &value.value_from {
            Some(from) => Ok(self.read(&from.secret_key_ref, hosts).await?.text),
            None => Ok(SecretText::from(value.value.as_deref().unwrap_or_default())),
        }
    }

    /// As [`Self::sourced`], with what stands before the Secret's value.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) async fn named(&self, value: &NamedValue, hosts: &[&str]) -> Result<SecretText, Refusal> {
        match &value.value_from {
            Some(from) => {
                let text = self.read(&from.secret_key_ref, hosts).await?.text;
                let prefix = from.prefix.as_deref().unwrap_or_default();
                Ok(prefixed(prefix, &text))
            }
            None => Ok(SecretText::from(value.value.as_deref().unwrap_or_default())),
        }
    }
}
