//! The reply to a request without a question.

use super::{
    Edns, Rcode, Response, Room,
    opt::Opt,
    query::{HEADER, bare_header},
};

/// Appends the reply to a request that has no question and asks for a cookie: a header, and an OPT
/// record with the options of `room` (RFC 7873 §5.4).
pub fn empty_reply(packet: &[u8], edns: Edns, room: Room, out: &mut Vec<u8>) {
    bare_header(packet, Rcode::NOERROR, 1, out);
    let response = Response::of(Rcode::NOERROR);
    let mut opt = Opt::of_reply(&response, edns, room, HEADER);
    opt.pad(HEADER, room.limit);
    opt.write(out);
}
