//! Signatures of DNSSEC with the crate ring.

use std::sync::Arc;

use ring::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding,
    },
};

use crate::dnssec::{PrivateKey, RsaNumbers, Secret, Signer, algorithm};

/// Makes a signer; see [`crate::dnssec::MakeSigner`].
///
/// # Errors
/// The reason why the keys cannot be used.
pub fn signer(number: u8, public: &[u8], private: &PrivateKey) -> Result<Arc<dyn Signer>, String> {
    match (&private.secret, number) {
        (Secret::Rsa(numbers), algorithm::RSASHA256) => rsa(numbers, public, &RSA_PKCS1_SHA256),
        (Secret::Rsa(numbers), algorithm::RSASHA512) => rsa(numbers, public, &RSA_PKCS1_SHA512),
        (Secret::Curve(scalar), algorithm::ECDSAP256SHA256) => {
            ecdsa(scalar, public, &ECDSA_P256_SHA256_FIXED_SIGNING, 32)
        }
        (Secret::Curve(scalar), algorithm::ECDSAP384SHA384) => {
            ecdsa(scalar, public, &ECDSA_P384_SHA384_FIXED_SIGNING, 48)
        }
        (Secret::Curve(seed), algorithm::ED25519) => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
            Ok(Arc::new(Ed25519(pair.map_err(|error| not_a_pair(&error))?)))
        }
        _ => Err(format!("the algorithm {number} is not supported")),
    }
}

fn not_a_pair(error: &ring::error::KeyRejected) -> String {
    format!("the private key does not belong to the public key, or is too small: {error}")
}

struct Ecdsa(EcdsaKeyPair);

/// `octets` is the length of a coordinate. Some tools leave out the first zeros of the scalar.
fn ecdsa(
    scalar: &[u8],
    public: &[u8],
    algorithm: &'static EcdsaSigningAlgorithm,
    octets: usize,
) -> Result<Arc<dyn Signer>, String> {
    let mut padded = vec![0; octets.saturating_sub(scalar.len())];
    padded.extend_from_slice(scalar);
    // The octet 4 marks a point that is not compressed. DNSKEY records leave it out (RFC 6605 §4).
    let point = [&[4], public].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(
        algorithm,
        &padded,
        &point,
        &SystemRandom::new(),
    );
    Ok(Arc::new(Ecdsa(pair.map_err(|error| not_a_pair(&error))?)))
}

impl Signer for Ecdsa {
    fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.sign(&SystemRandom::new(), octets).ok()?.as_ref().to_vec())
    }
}

struct Ed25519(Ed25519KeyPair);

impl Signer for Ed25519 {
    fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.sign(octets).as_ref().to_vec())
    }
}

struct Rsa {
    pair: rsa::KeyPair,
    encoding: &'static dyn RsaEncoding,
}

fn rsa(
    numbers: &RsaNumbers,
    public: &[u8],
    encoding: &'static dyn RsaEncoding,
) -> Result<Arc<dyn Signer>, String> {
    let RsaNumbers { modulus, public_exponent, .. } = numbers;
    let modulus = positive(modulus);
    // The public key is the exponent with its length, and then the modulus (RFC 3110 §2).
    if !public.ends_with(modulus) {
        return Err("the private key does not belong to the public key".to_owned());
    }
    let components = rsa::KeyPairComponents {
        public_key: rsa::PublicKeyComponents { n: modulus, e: positive(public_exponent) },
        d: positive(&numbers.private_exponent),
        p: positive(&numbers.primes[0]),
        q: positive(&numbers.primes[1]),
        dP: positive(&numbers.exponents[0]),
        dQ: positive(&numbers.exponents[1]),
        qInv: positive(&numbers.coefficient),
    };
    let pair = rsa::KeyPair::from_components(&components);
    let pair = pair.map_err(|error| {
        format!("the RSA key is not accepted: {error}; it needs 2048 to 4096 bits")
    })?;
    Ok(Arc::new(Rsa { pair, encoding }))
}

/// The number without zeros at the start.
fn positive(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    &number[zeros..]
}

impl Signer for Rsa {
    fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(self.encoding, &SystemRandom::new(), octets, &mut signature).ok()?;
        Some(signature)
    }
}
