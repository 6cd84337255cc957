//! Event: what kubelet and the scheduler say about a Pod. Only `explain` reads it.

use k8s_openapi::api::core::v1::Event;

use super::{
    DnsUse, FieldError, KindDescriptor, ObjectStore, Scope, Version, decode_name, object::ApiObject,
};

pub static EVENT: KindDescriptor = KindDescriptor {
    name: "Event",
    plural: "events",
    scope: Scope::Namespaced,
    versions: &[Version::new("v1")],
    dns: DnsUse::None,
    decode: decode_name,
    store: |object: &ApiObject, objects: &mut ObjectStore| -> Result<(), FieldError> {
        // Nothing depends on an Event that does not parse.
        if let Ok(event) = object.typed::<Event>() {
            objects.push(event);
        }
        Ok(())
    },
};
