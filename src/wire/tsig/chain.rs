//! The signatures of a request and of the messages that answer it. Each covers the one before it.

use std::sync::Arc;

use ring::hmac;
use thiserror::Error;

use crate::limits;

use super::{
    super::{Name, octets::HEADER},
    SignedMessage, Tsig, TsigAlgorithm, TsigKey,
};

/// Why a message is not accepted. The checks have the order of RFC 8945 §5.2, so an attacker
/// without the key does not learn the time of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TsigError {
    #[error("the TSIG record is malformed")]
    Malformed,
    #[error("the message has no TSIG record")]
    Missing,
    #[error("the key or its algorithm is not known (BADKEY)")]
    BadKey,
    #[error("the signature is wrong: the secrets of the two servers differ (BADSIG)")]
    BadSignature,
    #[error("the clocks of the two servers differ by too much (BADTIME)")]
    BadTime,
    #[error("the signature is shortened (BADTRUNC)")]
    Truncated,
    #[error("the other server does not accept the signature: {0}")]
    Remote(&'static str),
}

/// The key, and the state of the signatures.
#[derive(Clone, Debug)]
pub struct TsigChain {
    key: Name,
    algorithm: Name,
    /// `None` if nothing may be signed, because the other side has no valid key.
    hmac: Option<hmac::Key>,
    /// The signature before the next message; empty before a request.
    last: Vec<u8>,
    /// Whether the next signature covers only the times of its record.
    timers_only: bool,
    /// Messages without a signature, which the next one covers.
    unsigned: Vec<u8>,
    unsigned_messages: usize,
    error: u16,
    /// The time of a request whose clock is wrong, and this server's time.
    wrong_time: Option<(u64, u64)>,
}

impl TsigChain {
    /// For a request of this server.
    pub fn new(key: &TsigKey) -> Self {
        let hmac = Some(key.hmac(key.algorithm));
        Self::of(key.name.clone(), key.algorithm.name(), hmac, Vec::new())
    }

    fn of(key: Name, algorithm: Name, hmac: Option<hmac::Key>, last: Vec<u8>) -> Self {
        Self {
            key,
            algorithm,
            hmac,
            last,
            timers_only: false,
            unsigned: Vec::new(),
            unsigned_messages: 0,
            error: 0,
            wrong_time: None,
        }
    }

    /// Checks a request. Returns how its reply is signed, and whether the request is accepted.
    ///
    /// # Errors
    /// The record is malformed, so the reply has none.
    pub fn accept(
        request: &SignedMessage,
        find: impl FnOnce(&Name) -> Option<Arc<TsigKey>>,
        unix: u64,
    ) -> Result<(Self, Result<(), TsigError>), TsigError> {
        let tsig = request.tsig().ok_or(TsigError::Malformed)?;
        let algorithm = TsigAlgorithm::of(&tsig.algorithm);
        let unsigned = |error: TsigError| {
            let chain = Self::of(tsig.key.clone(), tsig.algorithm.clone(), None, Vec::new());
            let error_code = error.code();
            Ok((Self { error: error_code, ..chain }, Err(error)))
        };
        let Some((algorithm, key)) = algorithm.zip(find(&tsig.key)) else {
            return unsigned(TsigError::BadKey);
        };
        let hmac = key.hmac(algorithm);
        let mut data = request.covered(tsig.original_id);
        data.extend(tsig.variables());
        let outcome = match checked(&tsig, algorithm, &hmac, &data, unix) {
            Err(TsigError::Malformed) => return Err(TsigError::Malformed),
            Err(TsigError::BadSignature) => return unsigned(TsigError::BadSignature),
            outcome => outcome,
        };
        let mut chain = Self::of(tsig.key.clone(), tsig.algorithm.clone(), Some(hmac), tsig.mac);
        chain.error = outcome.err().map_or(0, TsigError::code);
        if outcome == Err(TsigError::BadTime) {
            chain.wrong_time = Some((tsig.time, unix));
        }
        Ok((chain, outcome))
    }

    /// The name of the key.
    pub fn key(&self) -> &Name {
        &self.key
    }

    /// Octets of the record that [`Self::sign`] appends.
    pub fn octets(&self) -> usize {
        let mac =
            self.hmac.as_ref().map_or(0, |hmac| hmac.algorithm().digest_algorithm().output_len());
        let other = if self.wrong_time.is_some() { 6 } else { 0 };
        Tsig::octets(&self.key, &self.algorithm, mac, other)
    }

    /// Signs the message that begins at `start`, at this time in seconds since 1970.
    pub fn sign(&mut self, start: usize, unix: u64, out: &mut Vec<u8>) {
        let Some(&[high, low, ..]) = out.get(start..start + HEADER) else { return };
        let mut tsig = Tsig {
            key: self.key.clone(),
            algorithm: self.algorithm.clone(),
            time: self.wrong_time.map_or(unix, |(theirs, _)| theirs),
            fudge: limits::TSIG_FUDGE,
            mac: Vec::new(),
            original_id: u16::from_be_bytes([high, low]),
            error: self.error,
            other: self.wrong_time.map_or(Vec::new(), |(_, ours)| ours.to_be_bytes()[2..].to_vec()),
        };
        if let Some(hmac) = &self.hmac {
            let data = self.data(&out[start..], &tsig);
            tsig.mac = hmac::sign(hmac, &data).as_ref().to_vec();
            let is_reply = !self.last.is_empty();
            (self.timers_only, self.last) = (is_reply, tsig.mac.clone());
        }
        tsig.write(start, out);
    }

    /// Checks a message that answers the request. A message without a signature is accepted between
    /// others, and the next signature covers it.
    ///
    /// # Errors
    /// The message is not accepted.
    pub fn verify(&mut self, message: &[u8], unix: u64) -> Result<(), TsigError> {
        let Some(signed) = SignedMessage::find(message) else {
            self.unsigned_messages += 1;
            // The first message must have a signature, and at most 99 messages in a row may lack
            // one (RFC 8945 §5.3.1).
            if !self.timers_only || self.unsigned_messages > limits::TSIG_UNSIGNED {
                return Err(TsigError::Missing);
            }
            self.unsigned.extend_from_slice(message);
            return Ok(());
        };
        let tsig = signed.tsig().ok_or(TsigError::Malformed)?;
        let (Some(algorithm), Some(hmac)) = (TsigAlgorithm::of(&tsig.algorithm), &self.hmac) else {
            return Err(TsigError::BadKey);
        };
        if tsig.key != self.key || tsig.algorithm != self.algorithm {
            return Err(TsigError::BadKey);
        }
        if tsig.error != 0 && tsig.mac.is_empty() {
            return Err(TsigError::Remote(code_name(tsig.error)));
        }
        let data = self.data(&signed.covered(tsig.original_id), &tsig);
        checked(&tsig, algorithm, hmac, &data, unix)?;
        if tsig.error != 0 {
            return Err(TsigError::Remote(code_name(tsig.error)));
        }
        (self.timers_only, self.last) = (true, tsig.mac);
        self.unsigned.clear();
        self.unsigned_messages = 0;
        Ok(())
    }

    /// Notes messages that were sent without a signature, as other servers do.
    #[cfg(test)]
    pub(super) fn pass_over(&mut self, messages: &[u8]) {
        self.unsigned.extend_from_slice(messages);
    }

    /// Whether a signature covers all messages so far. The last message of a transfer has one.
    pub fn is_complete(&self) -> bool {
        self.unsigned.is_empty()
    }

    fn data(&self, message: &[u8], tsig: &Tsig) -> Vec<u8> {
        let mut data = Vec::with_capacity(message.len() + 128);
        if !self.last.is_empty() {
            data.extend((self.last.len() as u16).to_be_bytes());
            data.extend(&self.last);
        }
        data.extend(&self.unsigned);
        data.extend(message);
        data.extend(if self.timers_only { tsig.timers() } else { tsig.variables() });
        data
    }
}

/// Checks the signature, and then the time.
fn checked(
    tsig: &Tsig,
    algorithm: TsigAlgorithm,
    hmac: &hmac::Key,
    data: &[u8],
    unix: u64,
) -> Result<(), TsigError> {
    let (octets, full) = (tsig.mac.len(), algorithm.octets());
    // RFC 8945 §5.2.2.1: such a length is an error of the message.
    if octets > full || octets < (full / 2).max(10) && octets > 0 {
        return Err(TsigError::Malformed);
    }
    let shortened = octets < full && octets > 0;
    if shortened {
        let whole = hmac::sign(hmac, data);
        // The message is rejected in both cases, so the comparison need not take constant time.
        let fits = whole.as_ref().starts_with(&tsig.mac);
        return Err(if fits { TsigError::Truncated } else { TsigError::BadSignature });
    }
    hmac::verify(hmac, data, &tsig.mac).map_err(|_| TsigError::BadSignature)?;
    if tsig.time.abs_diff(unix) > tsig.fudge.into() {
        return Err(TsigError::BadTime);
    }
    Ok(())
}

impl TsigError {
    /// The code in the record of a reply.
    fn code(self) -> u16 {
        match self {
            Self::BadSignature => 16,
            Self::BadKey => 17,
            Self::BadTime => 18,
            Self::Truncated => 22,
            Self::Malformed | Self::Missing | Self::Remote(_) => 0,
        }
    }
}

/// The names of the error codes in TSIG records. In an OPT record, 16 means BADVERS.
fn code_name(code: u16) -> &'static str {
    match code {
        16 => "BADSIG",
        17 => "BADKEY",
        18 => "BADTIME",
        22 => "BADTRUNC",
        _ => "an unknown error",
    }
}
