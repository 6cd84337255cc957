//! Every bound in the program, each with its reason.

use std::time::Duration;

/// Octets of a name in wire form (RFC 1035 §3.1).
pub const NAME_OCTETS: usize = 255;
/// Octets of a label (RFC 1035 §3.1).
pub const LABEL_OCTETS: usize = 63;
/// Octets of a UDP message without EDNS (RFC 1035 §4.2.1).
pub const UDP_OCTETS_PLAIN: u16 = 512;
/// Our own EDNS size: what passes without fragments on every path (DNS Flag Day 2020).
pub const UDP_OCTETS: u16 = 1232;
/// Octets of a message over a stream: its length prefix is 16 bits (RFC 1035 §4.2.2).
pub const STREAM_OCTETS: usize = 65_535;

/// Nested questions (CNAME hops, `autopath` candidates, rewrites) that one client question may cause.
pub const ASKS: u32 = 16;
/// CNAMEs followed inside the cluster zone for one question; CoreDNS answers chains of up to 11.
pub const ALIASES: usize = 11;

/// How long a client of ours waits: glibc, musl and Go give up after 5 s; a reply after that helps nobody.
pub const QUERY_TIME: Duration = Duration::from_secs(5);
/// Octets that names and data of one upstream reply may take once they are uncompressed: four times the largest message.
pub const REPLY_OCTETS: usize = 4 * STREAM_OCTETS;
/// Aliases within one upstream reply; more is a loop or as bad as one.
pub const REPLY_ALIASES: usize = 16;

/// Words of a Corefile with everything imported; the largest in the field have some thousands.
pub const COREFILE_WORDS: usize = 100_000;
/// Octets of a Corefile and all files that it imports: a ConfigMap holds 1 MiB, and several may be mounted.
pub const COREFILE_OCTETS: usize = 4 << 20;
/// Imports that are followed: CoreDNS's own bound for snippets.
pub const COREFILE_IMPORTS: usize = 10_000;
/// Braces in braces, and imports in imports.
pub const COREFILE_DEPTH: usize = 32;
/// Mistakes that are told in one run.
pub const DIAGNOSTICS: usize = 100;
/// Characters of a message; a word that it quotes may be as long as the file.
pub const DIAGNOSTIC_CHARS: usize = 400;
/// Octets of a line that is shown with a message: what is longer was not written by hand.
pub const DIAGNOSTIC_LINE: usize = 4096;
