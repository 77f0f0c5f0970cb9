//! Names and passwords. (nginx: auth_basic, auth_basic_user_file; RFC 7617)
//!
//! What takes long on purpose runs beside the workers, two at a time; a password that was good is
//! known by a keyed hash from then on, together with the line that it was good for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

use super::Refusal;
use super::password::Hash;
use super::table::Table;
use crate::config;
use crate::semantics::basic;
use crate::semantics::reason::Reason;
use crate::store::secret::random_bytes;
use crate::sync::{Mutex, spawn_blocking};

/// Who may ask by name and password.
pub struct Basic {
    challenge: HeaderValue,
    source: config::Users,
    users: ArcSwap<Users>,
    /// When the file was last looked at.
    looked_ms: AtomicU64,
    /// Guards what was good lately: keyed hashes of name, password and line.
    verified: Mutex<Table<[u8; 32]>>,
    /// Of these hashes; drawn at the start.
    key: [u8; 32],
    jobs: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Users {
    by_name: HashMap<Vec<u8>, Arc<User>>,
    /// What the file looked like when it was read.
    stamp: Option<Stamp>,
}

struct User {
    /// As it is written.
    text: String,
    hash: Hash,
}

type Stamp = (SystemTime, u64, u64);

impl Basic {
    /// With the users as they are now.
    ///
    /// # Errors
    /// Why they cannot be read, for the operator.
    pub fn open(settings: &config::AuthBasic) -> Result<Arc<Self>, String> {
        let users = match &settings.users {
            config::Users::File(path) => read(path)?,
            config::Users::Table(pairs) => {
                let lines = pairs.iter().map(|(name, hash)| (name.as_str(), hash.as_str()));
                Users { by_name: known(lines, "`users`"), stamp: None }
            }
        };
        let realm = settings.realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{realm}\""));
        Ok(Arc::new(Self {
            challenge: challenge.map_err(|_| "the realm is no text of a field".to_owned())?,
            source: settings.users.clone(),
            users: ArcSwap::from_pointee(users),
            looked_ms: AtomicU64::new(0),
            verified: Mutex::new(Table::new(VERIFIED_MAX)),
            key: random_bytes(),
            jobs: Arc::new(Semaphore::new(JOBS)),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Whether a request with these fields comes from somebody who is known.
    pub(super) async fn check(&self, fields: &HeaderMap, now_ms: u64) -> Result<(), Refusal> {
        self.look_at_file(now_ms).await;
        let given = fields.get(header::AUTHORIZATION).and_then(basic::credentials);
        let Some((name, password)) = given.filter(|(_, password)| password.len() <= PASSWORD_MAX)
        else {
            return Err(self.refused());
        };
        let users = self.users.load_full();
        // A name that is not known takes as long as one that is.
        let known = users.by_name.get(&name);
        let Some(user) = known.or_else(|| users.by_name.values().next()) else {
            return Err(self.refused());
        };
        let is_known = known.is_some();
        if user.hash.is_quick() {
            let good = user.hash.is_of(&password) && is_known;
            return good.then_some(()).ok_or_else(|| self.refused());
        }
        let tag = self.tag(&name, &password, &user.text);
        if is_known && self.was_good(&tag) {
            return Ok(());
        }
        let good = self.verify(Arc::clone(user), password).await? && is_known;
        if !good {
            return Err(self.refused());
        }
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        match verified.get(short(&tag)) {
            Some(other) => *other = tag,
            None => verified.insert(short(&tag), tag),
        }
        Ok(())
    }

    /// Beside the workers, and not by too many at once: whoever asks with wrong passwords all the
    /// time must not have all processors.
    async fn verify(&self, user: Arc<User>, password: Vec<u8>) -> Result<bool, Refusal> {
        let waiting = Waiting::new(&self.waiting).ok_or_else(busy)?;
        let permit = Arc::clone(&self.jobs).acquire_owned().await.map_err(|_| busy())?;
        drop(waiting);
        let job = spawn_blocking(move || {
            let good = user.hash.is_of(&password);
            drop(permit);
            good
        });
        job.await.map_err(|_| busy())
    }

    fn was_good(&self, tag: &[u8; 32]) -> bool {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(short(tag)).is_some_and(|known| known == tag)
    }

    fn tag(&self, name: &[u8], password: &[u8], line: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [name, password, line.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// Reads the file anew if it has changed; looks once a second at most. What cannot be read
    /// changes nothing.
    async fn look_at_file(&self, now_ms: u64) {
        let config::Users::File(path) = &self.source else { return };
        let looked_ms = self.looked_ms.load(Relaxed);
        let due = now_ms.saturating_sub(looked_ms) >= LOOK_EVERY_MS;
        if !due || self.looked_ms.compare_exchange(looked_ms, now_ms, Relaxed, Relaxed).is_err() {
            return;
        }
        let (path, before) = (path.clone(), self.users.load().stamp);
        let shown = path.display().to_string();
        let job = spawn_blocking(move || match stamp(&path) {
            Ok(now) if Some(now) == before => Ok(None),
            Ok(_) => read(&path).map(Some),
            Err(error) => Err(error),
        });
        match job.await {
            Ok(Ok(Some(users))) => self.users.store(Arc::new(users)),
            Ok(Err(error)) => {
                tracing::warn!(file = shown, error, "users stay as they were");
            }
            Ok(Ok(None)) | Err(_) => {}
        }
    }

    fn refused(&self) -> Refusal {
        Refusal {
            status: StatusCode::UNAUTHORIZED,
            reason: Reason::Unauthorised,
            challenges: vec![self.challenge.clone()],
            retry_after_s: None,
        }
    }
}

fn busy() -> Refusal {
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: Reason::Limited,
        challenges: Vec::new(),
        retry_after_s: Some(1),
    }
}

fn short(tag: &[u8; 32]) -> u64 {
    let first = tag.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

/// One of a limited number of those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Relaxed) < WAITING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let modified = metadata.modified().map_err(|error| error.to_string())?;
    Ok((modified, metadata.len(), metadata.ino()))
}

/// The users of a file of htpasswd: `name:password`, one a line; `#` begins a comment.
fn read(path: &Path) -> Result<Users, String> {
    let told = |error: &dyn std::fmt::Display| {
        format!("cannot read the users in `{}`: {error}", path.display())
    };
    // First, so that what comes in between makes it be read again.
    let stamp = stamp(path).map_err(|error| told(&error))?;
    if stamp.1 > FILE_BYTES_MAX {
        return Err(told(&"the file is larger than 16m"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    // What stands behind another colon is a comment.
    let pairs = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, rest)| (name, rest.split(':').next().unwrap_or(rest)));
    let by_name = known(pairs, &path.display().to_string());
    Ok(Users { by_name, stamp: Some(stamp) })
}

fn known<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    source: &str,
) -> HashMap<Vec<u8>, Arc<User>> {
    let mut by_name: HashMap<Vec<u8>, Arc<User>> = HashMap::new();
    for (name, text) in pairs {
        let hash = match Hash::parse(text) {
            Ok(hash) => hash,
            Err(error) => {
                tracing::warn!(source, name, error, "this user is left out");
                continue;
            }
        };
        if matches!(hash, Hash::Plain(_)) {
            tracing::warn!(source, name, "the password of this user can be read by all who see it");
        }
        // The first line of a name counts, as in nginx.
        let user = Arc::new(User { text: text.to_owned(), hash });
        by_name.entry(name.as_bytes().to_vec()).or_insert(user);
    }
    by_name
}

/// Verifications at a time that take long.
const JOBS: usize = 2;
/// Requests that wait for one.
const WAITING_MAX: usize = 128;
/// Passwords that were good lately.
const VERIFIED_MAX: usize = 4096;
/// Some kinds of hashes take as much longer as the password is.
const PASSWORD_MAX: usize = 512;
const LOOK_EVERY_MS: u64 = 1000;
const FILE_BYTES_MAX: u64 = 16 << 20;
