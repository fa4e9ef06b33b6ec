//! Who we are to a NATS server: a token, a user, or a key that signs the server's challenge
//! (<https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth>).
//!
//! Keys are Ed25519, and written as nkeys are: base32 of a prefix, the key and a CRC
//! (<https://github.com/nats-io/nkeys>).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookswitch_crds::snapshot::{NatsAuth, ResolvedSecret};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::super::excerpt::Secrets;
use super::super::target::{Held, reveal};

/// The prefix of a seed, in the upper five bits.
const SEED: u8 = 18 << 3;
/// The prefix of a user's key.
const USER: u8 = 20 << 3;
/// RFC 4648, section 6.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Who we are.
pub(super) enum Identity {
    Nobody,
    Token(Zeroizing<String>),
    User {
        name: Zeroizing<String>,
        password: Zeroizing<String>,
    },
    Key {
        pair: Box<Ed25519KeyPair>,
        /// What an account says of the key; without it the server knows the key itself.
        jwt: Option<Zeroizing<String>>,
    },
}

impl Identity {
    /// Reads what the Secrets hold.
    ///
    /// # Errors
    /// What is missing, or can't be used.
    pub(super) fn prepare(auth: &NatsAuth, secrets: &mut Secrets) -> Result<Self, Held> {
        Ok(match auth {
            NatsAuth::None => Self::Nobody,
            NatsAuth::Token(token) => Self::Token(text(token, secrets)?),
            NatsAuth::User { username, password } => Self::User {
                name: text(username, secrets)?,
                password: text(password, secrets)?,
            },
            NatsAuth::Nkey(secret) => {
                let seed = text(secret, secrets)?;
                let pair = pair(&seed).ok_or_else(|| unusable(secret))?;
                Self::Key { pair, jwt: None }
            }
            NatsAuth::Credentials(secret) => {
                let file = text(secret, secrets)?;
                let block = |title: &str| {
                    let mut lines = file.lines().map(str::trim);
                    lines.find(|line| *line == format!("-----BEGIN {title}-----"))?;
                    lines.find(|line| !line.is_empty()).map(str::to_owned)
                };
                let jwt = block("NATS USER JWT").ok_or_else(|| unusable(secret))?;
                let seed = Zeroizing::new(block("USER NKEY SEED").unwrap_or_default());
                secrets.add(jwt.as_bytes());
                secrets.add(seed.as_bytes());
                Self::Key {
                    pair: pair(&seed).ok_or_else(|| unusable(secret))?,
                    jwt: Some(Zeroizing::new(jwt)),
                }
            }
        })
    }

    /// Adds what proves it to what a client says of itself, with a signature over the server's challenge.
    pub(super) fn prove(&self, nonce: Option<&str>, connect: &mut Map<String, Json>) {
        let mut set = |name: &str, value: &str| {
            connect.insert(name.to_owned(), Json::from(value));
        };
        match self {
            Self::Nobody => {}
            Self::Token(token) => set("auth_token", token),
            Self::User { name, password } => {
                set("user", name);
                set("pass", password);
            }
            Self::Key { pair, jwt } => {
                match jwt {
                    Some(jwt) => set("jwt", jwt),
                    None => set("nkey", &public(pair)),
                }
                // A server that asks for no proof sends no challenge.
                if let Some(nonce) = nonce {
                    let signature = pair.sign(nonce.as_bytes());
                    set("sig", &URL_SAFE_NO_PAD.encode(signature));
                }
            }
        }
    }
}

fn unusable(secret: &ResolvedSecret) -> Held {
    Held::NatsCredentials(secret.reference.clone())
}

fn text(secret: &ResolvedSecret, secrets: &mut Secrets) -> Result<Zeroizing<String>, Held> {
    let bytes = reveal(secret, secrets)?.trim_ascii();
    let text = std::str::from_utf8(bytes).map_err(|_| unusable(secret))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A user's key from its seed.
fn pair(seed: &str) -> Option<Box<Ed25519KeyPair>> {
    let bytes = Zeroizing::new(decode(seed)?);
    let (body, crc) = bytes.split_last_chunk::<2>()?;
    let ([first, second], key) = body.split_first_chunk::<2>()?;
    let of = ((first & 0b111) << 5) | (second >> 3);
    let whole = crc16(body) == u16::from_le_bytes(*crc);
    if !whole || first & !0b111 != SEED || of != USER || key.len() != 32 {
        return None;
    }
    Ed25519KeyPair::from_seed_unchecked(key).ok().map(Box::new)
}

/// The key's public half.
fn public(pair: &Ed25519KeyPair) -> String {
    let mut bytes = vec![USER];
    bytes.extend(pair.public_key().as_ref());
    bytes.extend(crc16(&bytes).to_le_bytes());
    encode(&bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0_u32, 0);
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|it| *it == letter)?;
        held = ((held << 5) | u32::try_from(value).ok()?) & 0xffff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            let [.., byte] = (held >> bits).to_be_bytes();
            bytes.push(byte);
        }
    }
    Some(bytes)
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0_u32, 0);
    let mut put = |value: u32| {
        let place = usize::try_from(value & 31).unwrap_or_default();
        text.extend(ALPHABET.get(place).copied().map(char::from));
    };
    for byte in bytes {
        held = ((held << 8) | u32::from(*byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            put(held >> bits);
        }
    }
    if bits > 0 {
        put(held << (5 - bits));
    }
    text
}

#[cfg(test)]
mod tests {
    use hookswitch_crds::secret::SecretBytes;
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// A user's seed and its public key, made from 32 bytes as nkeys are.
    fn made() -> (String, String) {
        let raw = [7; 32];
        let mut seed = vec![SEED | (USER >> 5), (USER & 31) << 3];
        seed.extend(raw);
        seed.extend(crc16(&seed).to_le_bytes());
        let pair = Ed25519KeyPair::from_seed_unchecked(&raw).unwrap();
        (encode(&seed), public(&pair))
    }

    fn secret(value: &str) -> ResolvedSecret {
        ResolvedSecret {
            reference: "nats/it".to_owned(),
            value: Some(SecretBytes::new(value.as_bytes().to_vec())),
        }
    }

    fn proof(auth: &NatsAuth) -> Map<String, Json> {
        let identity = Identity::prepare(auth, &mut Secrets::default()).unwrap();
        let mut connect = Map::new();
        identity.prove(Some("challenge"), &mut connect);
        connect
    }

    #[test]
    fn a_seed_is_read_as_nkeys_are_written() {
        // Those of https://docs.nats.io/nats-tools/nk.
        let known = pair("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY");
        let its_public = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        assert_eq!(public(&known.unwrap()), its_public);
        let (seed, public) = made();
        assert!(seed.starts_with("SU") && public.starts_with('U'));
        assert_eq!((seed.len(), public.len()), (58, 56));
        let mut damaged = seed.clone();
        damaged.replace_range(
            10..11,
            if seed.as_bytes()[10] == b'A' {
                "B"
            } else {
                "A"
            },
        );
        for wrong in [damaged.as_str(), "", "SU", "SAAB", &seed[..50], &public] {
            assert!(pair(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn crc_is_that_of_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_key_signs_the_challenge() {
        let (seed, key) = made();
        let connect = proof(&NatsAuth::Nkey(secret(&format!("{seed}\n"))));
        assert_eq!(connect["nkey"], key);
        let signature = URL_SAFE_NO_PAD.decode(connect["sig"].as_str().unwrap());
        let bytes = decode(&key).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, &bytes[1..33]);
        public.verify(b"challenge", &signature.unwrap()).unwrap();
    }

    #[test]
    fn a_creds_file_gives_its_jwt_and_signs() {
        let (seed, _) = made();
        let file = format!(
            "-----BEGIN NATS USER JWT-----\r\na.b.c\r\n------END NATS USER JWT------\r\n\r\n\
             ************************* IMPORTANT *************************\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        );
        let connect = proof(&NatsAuth::Credentials(secret(&file)));
        assert_eq!(connect["jwt"], "a.b.c");
        assert!(connect.contains_key("sig") && !connect.contains_key("nkey"));
    }

    #[test]
    fn r57_nothing_of_a_secret_stays_in_what_is_told() {
        let (seed, _) = made();
        let file = format!(
            "-----BEGIN NATS USER JWT-----\na.b.c\n-----BEGIN USER NKEY SEED-----\n{seed}\n"
        );
        let mut secrets = Secrets::default();
        let auth = NatsAuth::Credentials(secret(&file));
        Identity::prepare(&auth, &mut secrets).unwrap();
        assert!(!secrets.clear(format!("wrong: {seed}")).contains(&seed));
        let auth = NatsAuth::Nkey(secret("planted"));
        let held = Identity::prepare(&auth, &mut secrets).err().unwrap();
        assert!(!held.to_string().contains("planted"), "{held}");
    }

    #[test]
    fn a_user_and_a_token_are_said_as_they_are() {
        let connect = proof(&NatsAuth::Token(secret("t\n")));
        assert_eq!(connect["auth_token"], "t");
        let user = NatsAuth::User {
            username: secret("u"),
            password: secret("p"),
        };
        let connect = proof(&user);
        assert_eq!(
            (&connect["user"], &connect["pass"]),
            (&Json::from("u"), &Json::from("p"))
        );
        assert!(proof(&NatsAuth::None).is_empty());
    }
}
