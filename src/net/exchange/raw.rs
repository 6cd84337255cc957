//! What a transport delivered.

pub(super) enum RawReply {
    /// A message that matches the query.
    Packet(Vec<u8>),
    /// A message that matches except for the case of the question's letters.
    OtherCase(Vec<u8>),
    /// The reply may be forged or incomplete.
    Doubtful,
}
