//! Reading Secrets, and keeping account of where their values may go.

use crate::api::{NamedValue, SecretKeyReference, SourcedValue};
use crate::engine::ports::{Refusal, Secrets};
use crate::http::prefixed;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// Reads the Secrets of one namespace for one request.
pub(super) struct SecretReader<'a> {
    pub(super) secrets: &'a dyn Secrets,
    pub(super) namespace: &'a str,
    /// Where everything that was read may go.
    pub(super) bounds: Bounds,
}

impl SecretReader<'_> {
    /// Reads a value that is to be sent in a header, where no line end can stand, and its version.
    ///
    /// # Errors
    /// There is no such value, or it cannot be read.
    pub(super) async fn read(
        &mut self,
        reference: &SecretKeyReference,
    ) -> Result<(SecretText, String), Refusal> {
        let mut value = self.secrets.find(self.namespace, reference).await?;
        let version = std::mem::take(&mut value.version);
        Ok((value.open(&reference.name, &mut self.bounds).without_line_end(), version))
    }

    /// A value that is written out or in a Secret.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) async fn sourced(&mut self, value: &SourcedValue) -> Result<SecretText, Refusal> {
        match &value.value_from {
            Some(from) => Ok(self.read(&from.secret_key_ref).await?.0),
            None => Ok(SecretText::from(value.value.as_deref().unwrap_or_default())),
        }
    }

    /// As [`Self::sourced`], with what stands before the Secret's value.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) async fn named(&mut self, value: &NamedValue) -> Result<SecretText, Refusal> {
        match &value.value_from {
            Some(from) => {
                let (text, _) = self.read(&from.secret_key_ref).await?;
                let prefix = from.prefix.as_deref().unwrap_or_default();
                Ok(prefixed(prefix, &text))
            }
            None => Ok(SecretText::from(value.value.as_deref().unwrap_or_default())),
        }
    }
}
