//! Reads all objects of an index.

use crate::model::{EndpointSlice, Kind, Object, Service};

use super::Index;

impl Index {
    /// Calls `each` with all objects of a kind, in any order.
    pub fn each_object(&self, kind: Kind, mut each: impl FnMut(&Object)) {
        match kind {
            Kind::Namespace => {
                let all = self.namespaces.objects();
                all.for_each(|it| each(&Object::Namespace(it.clone())));
            }
            Kind::Service => {
                let all = self.services.objects();
                all.for_each(|it| each(&Object::Service(Service::clone(it))));
            }
            Kind::ServiceImport => {
                let all = self.imports.objects();
                all.for_each(|it| each(&Object::ServiceImport(Service::clone(it))));
            }
            Kind::EndpointSlice => {
                let all = self.slices.objects();
                all.for_each(|it| each(&Object::EndpointSlice(EndpointSlice::clone(it))));
            }
            Kind::Pod => {
                self.pods.objects().for_each(|pod| each(&Object::Pod(pod.pod())));
            }
            // Every other kind matters only for clients outside of the cluster.
            _ => self.outside.objects(kind).for_each(each),
        }
    }
}
