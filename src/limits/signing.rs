//! Bounds of signatures.

use std::time::Duration;

/// The signatures of `dnssec` that are kept: by default as in CoreDNS, and at most. Each takes some
/// hundred octets.
pub const SIGNATURES: usize = 10_000;
pub const SIGNATURES_MAX: usize = 10_000_000;
/// The TTL in the signatures of `dnssec`, in seconds, as in CoreDNS: the first TTL of a record from
/// an upstream is not known. Resolvers keep a record no longer than this.
pub const SIGNED_TTL: u32 = 3600;
/// Signatures of `dnssec` begin three hours before they are made, for clocks that are late. They
/// are valid for eight days, and are made again two days before they end. In seconds, as in
/// CoreDNS.
pub const SIGNATURE_INCEPTION: u32 = 3 * 3600;
pub const SIGNATURE_LIFETIME: u32 = 8 * 86_400;
pub const SIGNATURE_REST: i32 = 2 * 86_400;

/// How many seconds the clock of another server may differ from this one's (RFC 8945 §10).
pub const TSIG_FUDGE: u16 = 300;
/// Messages without a signature that may be between two signed messages of a transfer (RFC 8945
/// §5.3.1).
pub const TSIG_UNSIGNED: usize = 99;
/// Octets that a reply has at least beside its TSIG record. Without this, a long key name would
/// leave no room for the header.
pub const TSIG_REPLY_OCTETS: usize = 256;

/// How often `sign` checks its zones, as in CoreDNS.
pub const SIGN_LOOK: Duration = Duration::from_secs(5 * 3600);
/// `sign` signs a zone again after six days, or if less than a week is left until the signatures
/// end. In seconds, as in CoreDNS.
pub const SIGN_AGAIN_AFTER: i32 = 6 * 86_400;
pub const SIGN_AGAIN_BEFORE: i32 = 7 * 86_400;
/// Signatures of `sign` are valid for 32 days, in seconds.
pub const SIGN_LIFETIME: u32 = 32 * 86_400;
/// How much earlier the signatures of `sign` may begin, and how much later they may end, so that
/// not all zones are signed at the same time.
pub const SIGN_INCEPTION_JITTER: Duration = Duration::from_secs(18 * 3600);
pub const SIGN_LIFETIME_JITTER: Duration = Duration::from_secs(5 * 86_400);
/// Records at the start of a signed file among which `sign` looks for the signature of the SOA
/// record.
pub const SIGNED_RECORDS_LOOK: usize = 100;
