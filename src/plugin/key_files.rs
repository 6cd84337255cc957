//! The keys of `dnssec` and `sign`: pairs of files that `dnssec-keygen` writes.

use crate::{corefile::Arguments, dnssec::ZoneKey};

use super::{BuildError, Need, PluginContext, root::Root};

/// The path of a key without the endings of its two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyFiles(String);

impl KeyFiles {
    /// Reads the rest of `key file PATH…`. The path may have the ending of either file.
    pub(super) fn read(root: &Root, option: &mut Arguments<'_>) -> Vec<Self> {
        let Some(first) = option.required("the path of a key, such as `Kexample.org.+013+45330`")
        else {
            return Vec::new();
        };
        let path = |text: &str| {
            let base = text.strip_suffix(".key").or_else(|| text.strip_suffix(".private"));
            Self(root.path(base.unwrap_or(text)))
        };
        [first].into_iter().chain(option.rest()).map(|token| path(&token.text)).collect()
    }

    fn public(&self) -> String {
        format!("{}.key", self.0)
    }

    fn private(&self) -> String {
        format!("{}.private", self.0)
    }

    pub(super) fn paths(&self) -> [String; 2] {
        [self.public(), self.private()]
    }

    pub(super) fn needs(&self) -> [Need; 2] {
        self.paths().map(Need::File)
    }

    /// # Errors
    /// A file cannot be read, or the files are not a key.
    pub(super) fn load(&self, context: &PluginContext<'_>) -> Result<ZoneKey, BuildError> {
        let text = |path: String| match context.file(&path) {
            Ok(text) => Ok(text),
            Err(reason) => Err(BuildError(format!(
                "the key file {path} cannot be read: {reason}; the user that ndots runs as must be able to read it"
            ))),
        };
        let (public, private) = (text(self.public())?, text(self.private())?);
        ZoneKey::read(public, private, context.build.signer)
            .map_err(|error| BuildError(format!("the key {} is not used: {error}", self.0)))
    }
}
