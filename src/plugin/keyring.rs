//! The TSIG keys of the whole server.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    corefile::Arguments,
    wire::{Name, TsigKey},
};

/// All keys by their names. As in CoreDNS, a key that one block defines is known in all blocks.
#[derive(Debug, Default)]
pub struct Keyring(RwLock<HashMap<Name, Arc<TsigKey>>>);

impl Keyring {
    pub fn find(&self, name: &Name) -> Option<Arc<TsigKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn add(&self, key: TsigKey) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.name.clone(), Arc::new(key));
    }
}

/// A key that another directive names. The key may be defined in a later block.
#[derive(Clone, Debug)]
pub struct NamedKey {
    pub name: Name,
    pub(super) ring: Arc<Keyring>,
}

impl NamedKey {
    pub fn find(&self) -> Option<Arc<TsigKey>> {
        self.ring.find(&self.name)
    }
}

/// Reads the rest of `key NAME`.
pub(super) fn read_key(option: &mut Arguments<'_>) -> Option<Name> {
    let token = option.required("the name of a key of `tsig`")?;
    let name = token.text.parse().ok();
    if name.is_none() {
        option.error(token.span, &format!("`{}` is not the name of a key", token.text));
    }
    name
}
