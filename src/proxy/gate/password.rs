//! Passwords as htpasswd writes them, and whether one is it.
//! (nginx: auth_basic_user_file; crypt(3); RFC 7617)

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::semantics::basic::base64;

/// A password that cannot be read back, or hardly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// `{PLAIN}`: itself.
    Plain(Vec<u8>),
    /// `{SHA}` and `{SSHA}`: the digest, and what is hashed behind the password.
    Sha1([u8; 20], Vec<u8>),
    /// `$apr1$` and `$1$`.
    Md5 { magic: &'static str, salt: String, digest: String },
    /// `$2y$`, `$2b$`, `$2a$`.
    Bcrypt(String),
    /// `$5$`
    Sha256(Crypt),
    /// `$6$`
    Sha512(Crypt),
}

/// The parts of a `$5$` or `$6$` hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Crypt {
    rounds: u32,
    salt: String,
    digest: String,
}

impl Hash {
    /// Reads a password as a line of htpasswd has it behind the name.
    ///
    /// # Errors
    /// Why it is not one that is known.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(plain) = text.strip_prefix("{PLAIN}") {
            return Ok(Self::Plain(plain.as_bytes().to_vec()));
        }
        if let Some(text) = text.strip_prefix("{SHA}").or_else(|| text.strip_prefix("{SSHA}")) {
            let bytes = base64(text.as_bytes()).ok_or("its base64 is broken")?;
            let (digest, salt) = bytes.split_first_chunk().ok_or("it is too short")?;
            return Ok(Self::Sha1(*digest, salt.to_vec()));
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, digest) = rest.split_once('$').ok_or("it has no salt")?;
                let salt = salt.get(..salt.len().min(8)).ok_or("its salt is not plain text")?;
                let (salt, digest) = (salt.to_owned(), digest.to_owned());
                return Ok(Self::Md5 { magic, salt, digest });
            }
        }
        if ["$2y$", "$2b$", "$2a$"].iter().any(|magic| text.starts_with(magic)) {
            let parts = text.parse::<bcrypt::HashParts>().map_err(|_| "it is no bcrypt hash")?;
            if parts.get_cost() > COST_MAX {
                return Err("its cost is more than 16: it takes many seconds");
            }
            return Ok(Self::Bcrypt(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("$5$") {
            return Crypt::parse(rest).map(Self::Sha256);
        }
        if let Some(rest) = text.strip_prefix("$6$") {
            return Crypt::parse(rest).map(Self::Sha512);
        }
        Err("its kind is not known: `{SHA}`, `$apr1$`, `$2y$`, `$5$`, `$6$` and `{PLAIN}` are")
    }

    /// Whether `password` is it. Takes long on purpose unless it [`Self::is_quick`].
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Plain(plain) => same(plain, password),
            Self::Sha1(digest, salt) => {
                same(digest, &Sha1::new().chain_update(password).chain_update(salt).finalize())
            }
            Self::Md5 { magic, salt, digest } => {
                same(digest.as_bytes(), md5_crypt(password, magic, salt.as_bytes()).as_bytes())
            }
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Sha256(crypt) => crypt.is_of::<Sha256>(password, &ORDER_256),
            Self::Sha512(crypt) => crypt.is_of::<Sha512>(password, &ORDER_512),
        }
    }

    /// Whether it takes a few microseconds only.
    pub(super) fn is_quick(&self) -> bool {
        matches!(self, Self::Plain(_) | Self::Sha1(..))
    }
}

/// In the same time wherever they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

fn md5_crypt(password: &[u8], magic: &str, salt: &[u8]) -> String {
    let inner = Md5::new_with_prefix(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new_with_prefix(password).chain_update(magic).chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - at).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        next.update(if round & 1 == 1 { password } else { digest.as_slice() });
        next.update(if round % 3 > 0 { salt } else { &[] });
        next.update(if round % 7 > 0 { password } else { &[] });
        next.update(if round & 1 == 1 { digest.as_slice() } else { password });
        digest = next.finalize();
    }
    letters(&digest, &ORDER_MD5)
}

impl Crypt {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (rounds, rest) = match text.strip_prefix("rounds=") {
            Some(rest) => {
                let (rounds, rest) = rest.split_once('$').ok_or("it has no salt")?;
                let rounds: u32 = rounds.parse().map_err(|_| "its rounds are no number")?;
                (rounds.max(1000), rest)
            }
            None => (5000, text),
        };
        if rounds > ROUNDS_MAX {
            return Err("it takes more than 1000000 rounds");
        }
        let (salt, digest) = rest.split_once('$').ok_or("it has no salt")?;
        let salt = salt.get(..salt.len().min(16)).ok_or("its salt is not plain text")?;
        Ok(Self { rounds, salt: salt.to_owned(), digest: digest.to_owned() })
    }

    fn is_of<D: Digest + Clone>(&self, password: &[u8], order: &[[usize; 3]]) -> bool {
        same(self.digest.as_bytes(), self.hashed::<D>(password, order).as_bytes())
    }

    /// The steps are those of "Unix crypt using SHA-256 and SHA-512".
    fn hashed<D: Digest + Clone>(&self, password: &[u8], order: &[[usize; 3]]) -> String {
        let salt = self.salt.as_bytes();
        let inner =
            D::new_with_prefix(password).chain_update(salt).chain_update(password).finalize();
        let mut outer = D::new_with_prefix(password).chain_update(salt);
        outer.update(repeated(&inner, password.len()));
        let mut bits = password.len();
        while bits > 0 {
            outer.update(if bits & 1 == 1 { inner.as_slice() } else { password });
            bits >>= 1;
        }
        let mut digest = outer.finalize();
        let all = password.iter().fold(D::new(), |all, _| all.chain_update(password)).finalize();
        let password = repeated(&all, password.len());
        let times = 16 + usize::from(digest[0]);
        let all = (0..times).fold(D::new(), |all, _| all.chain_update(salt)).finalize();
        let salt = repeated(&all, salt.len());
        for round in 0..self.rounds {
            let mut next = D::new();
            next.update(if round & 1 == 1 { &password } else { digest.as_slice() });
            next.update(if round % 3 > 0 { salt.as_slice() } else { &[] });
            next.update(if round % 7 > 0 { password.as_slice() } else { &[] });
            next.update(if round & 1 == 1 { digest.as_slice() } else { &password });
            digest = next.finalize();
        }
        letters(&digest, order)
    }
}

fn repeated(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}

/// crypt's letters, six bits each, of three bytes at a time; a place past the end is no byte.
fn letters(digest: &[u8], order: &[[usize; 3]]) -> String {
    let mut text = String::with_capacity(digest.len() * 4 / 3 + 1);
    for places in order {
        let bytes = places.iter().filter(|place| **place < digest.len()).count();
        let byte = |place: &usize| u32::from(digest.get(*place).copied().unwrap_or(0));
        let mut bits = places.iter().fold(0, |bits, place| bits << 8 | byte(place));
        for _ in 0..=bytes {
            text.push(char::from(LETTERS[(bits & 63) as usize]));
            bits >>= 6;
        }
    }
    text
}

const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Past the end of every digest.
const NONE: usize = usize::MAX;
const ROUNDS_MAX: u32 = 1_000_000;
/// Of bcrypt, which doubles each time.
const COST_MAX: u32 = 16;

const ORDER_MD5: [[usize; 3]; 6] =
    [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5], [NONE, NONE, 11]];

const ORDER_256: [[usize; 3]; 11] = rotated::<11>(10, [NONE, 31, 30]);
const ORDER_512: [[usize; 3]; 22] = rotated::<22>(21, [NONE, NONE, 63]);

/// The order of crypt: three columns of so many bytes, each next one turned by a place.
const fn rotated<const N: usize>(rows: usize, last: [usize; 3]) -> [[usize; 3]; N] {
    let mut order = [last; N];
    let mut row = 0;
    while row < rows {
        let columns = [row, row + rows, row + 2 * rows];
        // SHA-256 turns to the right, SHA-512 to the left.
        let turn = if rows == 10 { (3 - row % 3) % 3 } else { row % 3 };
        order[row] = [columns[turn], columns[(turn + 1) % 3], columns[(turn + 2) % 3]];
        row += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::Hash;

    /// Made by `openssl passwd` and crypt(3).
    #[test]
    #[rustfmt::skip]
    fn passwords_of_htpasswd_are_known() {
        check("secret", "$apr1$r31.....$G/cElGhD0cboYkZN5h5Ne/");
        check("secret", "$1$abcd$Oy8OD9LGKv7H9yIMreLNV1");
        check("secret", "$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.");
        check("secret", "$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.");
        check("a", "$apr1$r31.....$s7OSk4uJoyS8elmZY5Ru40");
        check("a", "$1$abcd$PW3wSi4KQlwQXwfAbb9UA/");
        check("a", "$5$saltstring$7cz4bTeQ7MnNssphNhFVrITtuJYY/1tdvLL2uzLvOk8");
        check("a", "$6$saltstring$MO53nAXQUKXVLlsbiXyPgMsR6q10N7eF7sPvanwdXnEeCj5kE3eYaRvFv0wVW1UZ4SnNTzc1v4OCOq1ASDQZY0");
        check("a longer password than sixteen bytes, even than sixty-four of them: it has to go around", "$apr1$r31.....$wpI8Vra3Qo6TSI313TxWl/");
        check("a longer password than sixteen bytes, even than sixty-four of them: it has to go around", "$1$abcd$1LucP5XH02560ExULvLIu/");
        check("a longer password than sixteen bytes, even than sixty-four of them: it has to go around", "$5$saltstring$KI2b5ib7MKcip42DJopul0W/Bq9U7f1OAWmakad1MT7");
        check("a longer password than sixteen bytes, even than sixty-four of them: it has to go around", "$6$saltstring$YZmojv5W8MBJWO0RWZY5JuYKu6BLC/LyAUMusjMUHnNrIBdii64c8NbUVUhBVPxJEPBGRuM/pGOKIfN4/cx8U/");
        check("secret", "$6$rounds=1000$x$0iXvTPIWVHkg6yoVSlOTcEY0CyViwhXpPrHUJOuoFLKbBcWM9S03ZrCHmIxN51kGulOHuZE.4YQhTW5l/ghNC.");
        check("secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
        check("secret", "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0");
        check("secret", "{PLAIN}secret");
        check("secret", "$6$rounds=1000$roundsalt$0oYNoemtpMZIRX8om2kSVpAjw8P5P5pxiTVoFwI/3GjmMXe09pWsdsNY1YwdaoWbiv6Yfs7mJF3vB5Gg0.9Dx/");
        check("secret", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.pIKrLVkBX9/OvQMSygY1pWEVn72t6na");
        check("Hello world!", "$5$rounds=10000$saltstringsaltstring$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA");

        #[track_caller]
        fn check(password: &str, text: &str) {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.is_of(password.as_bytes()), "{text}");
            assert!(!hash.is_of(format!("{password}x").as_bytes()), "{text}");
            assert!(!hash.is_of(b""), "{text}");
        }
    }

    #[test]
    fn what_is_no_hash_is_told() {
        for text in [
            "",
            "plain",
            "rl.3StKT.4T8M",
            "{SHA}x",
            "{SHA}!!!!",
            "{SHA}YWJj",
            "$apr1$salt",
            "$2y$05$short",
            "$2y$17$CCCCCCCCCCCCCCCCCCCCC.pIKrLVkBX9/OvQMSygY1pWEVn72t6na",
            "$5$salt",
            "$6$rounds=x$salt$d",
            "$6$rounds=1000001$salt$d",
            "$7$x$y",
        ] {
            assert!(Hash::parse(text).is_err(), "{text}");
        }
    }
}
