//! The right to bind ports below 1024 without root.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Makes the capability NET_BIND_SERVICE effective, if the process is permitted to use it. Threads
/// that start afterwards have it, too.
///
/// The file capability of the image's binary permits the capability, but does not make it
/// effective. If it did, Linux would refuse to start the program in a container that drops all
/// capabilities (EPERM, see capabilities(7)), even if no port below 1024 is used. Without the
/// permission nothing changes here, and binding such a port reports the error.
pub(super) fn raise_bind_service() {
    let Ok(mut sets) = capabilities(None) else { return };
    let wanted = CapabilitySet::NET_BIND_SERVICE;
    if sets.permitted.contains(wanted) && !sets.effective.contains(wanted) {
        sets.effective |= wanted;
        // The kernel allows every permitted capability, so this fails only in a sandbox.
        let _ = set_capabilities(None, sets);
    }
}
