//! The right to bind ports below 1024 without root.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Makes the capability NET_BIND_SERVICE effective, if the process is permitted to use it. Threads
/// that start afterwards have it, too.
///
/// The file capability of the image's binary permits it and does not make it effective: with an
/// effective one, Linux refuses to start the program in a container that drops all capabilities
/// (EPERM, capabilities(7)), also where it would listen on a port above 1023. Without the
/// permission nothing changes, and binding such a port reports the error.
pub(super) fn raise_bind_service() {
    let Ok(mut sets) = capabilities(None) else { return };
    let wanted = CapabilitySet::NET_BIND_SERVICE;
    if sets.permitted.contains(wanted) && !sets.effective.contains(wanted) {
        sets.effective |= wanted;
        // The kernel allows every permitted capability, so that this fails in a sandbox only.
        let _ = set_capabilities(None, sets);
    }
}
