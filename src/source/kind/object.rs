//! One object of a known kind, and a store of such objects by their API types.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Decoded, Encoded, FieldError, KindDescriptor, Scope, Version, find};

/// An object of a known kind as JSON, in the shape of the kind's newest version. A namespaced
/// object has a namespace, and a cluster-scoped one has none.
///
/// `serve` derives facts from it ([`ApiObject::decode`]), and `explain` gets the object's API type
/// from it ([`ApiObject::store`]). So both see the same objects.
#[derive(Clone, Debug)]
pub struct ApiObject {
    pub kind: &'static KindDescriptor,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    json: Arc<str>,
}

/// A value in a manifest that is not an object of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObjectError {
    #[error("expected an object with `apiVersion`, `kind` and `metadata`")]
    NoMap,
    #[error("the object has no `kind`")]
    NoKind,
}

impl ApiObject {
    /// Recognizes an object by its `apiVersion` and `kind`; `None` for a kind that is not in the
    /// table.
    ///
    /// # Errors
    /// If the value is not an object of the Kubernetes API.
    pub fn recognize(value: Value) -> Result<Option<Self>, NotAnObjectError> {
        let Value::Object(fields) = value else { return Err(NotAnObjectError::NoMap) };
        let text = |key| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("kind").is_empty() {
            return Err(NotAnObjectError::NoKind);
        }
        let found = find(text("apiVersion"), text("kind"));
        Ok(found.map(|(kind, version)| Self::new(kind, version, fields)))
    }

    /// An object whose kind and version are known, as in an API server's list, whose items do not
    /// repeat them.
    pub fn new(
        kind: &'static KindDescriptor,
        version: &Version,
        mut fields: Map<String, Value>,
    ) -> Self {
        if let Some(convert) = version.convert {
            convert(&mut fields);
        }
        fields.insert("apiVersion".to_owned(), kind.newest().api_version.into());
        fields.insert("kind".to_owned(), kind.name.into());
        let (mut namespace, mut name) = (String::new(), String::new());
        if let Value::Object(metadata) =
            fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()))
        {
            let text = |key| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
            name = text("name").to_owned();
            match (kind.scope, text("namespace")) {
                (Scope::Cluster, _) => drop(metadata.remove("namespace")),
                (Scope::Namespaced, given) => {
                    namespace = if given.is_empty() { "default" } else { given }.to_owned();
                    metadata.insert("namespace".to_owned(), namespace.as_str().into());
                }
            }
        }
        Self { kind, namespace, name, json: Value::Object(fields).to_string().into() }
    }

    /// Its metadata, and the fact that is derived from it.
    ///
    /// # Errors
    /// If its metadata cannot be read.
    pub fn decode(&self) -> Result<Decoded, FieldError> {
        self.kind.decode(self.kind.newest(), Encoded::Json(&self.json))
    }

    /// The object as `T`.
    ///
    /// # Errors
    /// If a field has another type than in `T`.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, FieldError> {
        Ok(serde_json::from_str(&self.json)?)
    }

    /// The same object with some fields changed.
    pub fn edited(&self, edit: impl FnOnce(&mut Map<String, Value>)) -> Self {
        let mut fields = serde_json::from_str(&self.json).unwrap_or_default();
        edit(&mut fields);
        Self::new(self.kind, self.kind.newest(), fields)
    }

    /// Adds the object to `objects`, as the type that the kind has there.
    ///
    /// # Errors
    /// If a field has another type than in the API.
    pub fn store(&self, objects: &mut ObjectStore) -> Result<(), FieldError> {
        (self.kind.store)(self, objects)
    }
}

/// `Service default/web`, `Node worker-1`.
impl fmt::Display for ApiObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind.name, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.name, self.name),
        }
    }
}

/// Objects by their Rust types. Kinds without a type of their own are there as [`ApiObject`].
#[derive(Default)]
pub struct ObjectStore {
    /// For each type `T` a `Vec<T>`.
    lists: BTreeMap<TypeId, Box<dyn List>>,
}

/// A `Vec<T>` whose type is not known.
trait List: Any + Send + Sync {
    /// Adds the items of a list of the same type.
    fn append(&mut self, other: Box<dyn List>);
}

impl<T: Any + Send + Sync> List for Vec<T> {
    fn append(&mut self, other: Box<dyn List>) {
        let other: Box<dyn Any> = other;
        if let Ok(mut other) = other.downcast::<Self>() {
            self.append(&mut other);
        }
    }
}

impl ObjectStore {
    pub fn all<T: Any>(&self) -> &[T] {
        let list = self.lists.get(&TypeId::of::<T>()).and_then(|list| {
            let list: &dyn Any = list.as_ref();
            list.downcast_ref::<Vec<T>>()
        });
        list.map_or(&[], Vec::as_slice)
    }

    pub fn push<T: Any + Send + Sync>(&mut self, object: T) {
        let list = self.lists.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(Vec::<T>::new()));
        let list: &mut dyn Any = list.as_mut();
        if let Some(list) = list.downcast_mut::<Vec<T>>() {
            list.push(object);
        }
    }

    /// Adds the objects of another store after those of the same type.
    pub fn append(&mut self, other: Self) {
        for (kind, list) in other.lists {
            match self.lists.entry(kind) {
                Entry::Vacant(place) => drop(place.insert(list)),
                Entry::Occupied(mut own) => own.get_mut().append(list),
            }
        }
    }
}

/// The `store` function of a kind that has the type `T` in the API.
pub(super) fn store_as<T: DeserializeOwned + Any + Send + Sync>(
    object: &ApiObject,
    objects: &mut ObjectStore,
) -> Result<(), FieldError> {
    objects.push(object.typed::<T>()?);
    Ok(())
}

/// The `store` function of a kind that no check of `explain` looks at yet.
#[expect(clippy::unnecessary_wraps, reason = "it has the type of the other store functions")]
pub(super) fn store_untyped(
    object: &ApiObject,
    objects: &mut ObjectStore,
) -> Result<(), FieldError> {
    objects.push(object.clone());
    Ok(())
}
