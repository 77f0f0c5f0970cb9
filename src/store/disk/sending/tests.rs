//! Which bytes of a stored body the kernel sends, and which are read and verified.

use std::fs::{self, File, OpenOptions};
use std::future::poll_fn;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use tempfile::TempDir;

use super::super::read::tests::{
    KEY, folder, forget, page_cache_has, path_of, pattern, put, run, until, zone,
};
use super::*;
use crate::clock::Clock;
use crate::semantics::key::KeyHash;
use crate::store::tests::stored_with;
use crate::store::tiered::Tiered;
use crate::store::{Body, Content};

const LENGTH: usize = 1_500_000;

struct Stage {
    folder: TempDir,
    store: Arc<Tiered>,
    path: PathBuf,
    ledger: Arc<Ledger>,
}

/// What a client got.
#[derive(Debug, PartialEq)]
struct Got {
    /// Bytes that the kernel sent.
    by_kernel: usize,
    /// To the end.
    whole: bool,
}

const READ: Got = Got { by_kernel: 0, whole: true };
const SPLICED: Got = Got { by_kernel: LENGTH, whole: true };

impl Stage {
    /// A stored body, at a time long after; `None` where the page cache cannot be asked.
    fn new() -> Option<Self> {
        Self::at(Clock::manual(UNIX_EPOCH))
    }

    fn at(clock: Clock) -> Option<Self> {
        let folder = folder();
        let store = Tiered::open(&zone(folder.path(), 0), clock);
        until(|| !store.usage().cold);
        put(&store, KEY, pattern(LENGTH));
        let path = path_of(folder.path());
        let stage = Self { path, store, folder, ledger: Arc::default() };
        page_cache_has(&stage.path).then_some(stage)
    }

    fn body(&self) -> Arc<StoredBody> {
        let entry = run(self.store.get(KeyHash::of(KEY), KEY)).unwrap();
        let Content::Response(_, Body::Disk(body)) = &entry.content else { panic!("{entry:?}") };
        Arc::clone(body)
    }

    /// Sends a range; every byte must be right.
    fn send(&self, range: Range<u64>) -> Got {
        let mut sending = self.sending(range.clone());
        let expected = &pattern(LENGTH)[range.start as usize..range.end as usize];
        let (sent, got) = run(async {
            let (mut sent, mut by_kernel) = (Vec::new(), 0);
            while let Some(frame) = poll_fn(|cx| sending.as_mut().poll_frame(cx)).await {
                let Ok(frame) = frame else { return (sent, Got { by_kernel, whole: false }) };
                by_kernel += self.write(frame.data_ref().unwrap(), &mut sent);
            }
            (sent, Got { by_kernel, whole: true })
        });
        assert!(expected.starts_with(&sent) && got.whole == (sent.len() == expected.len()));
        got
    }

    fn sending(&self, range: Range<u64>) -> Pin<Box<Sending>> {
        let mut sending = Box::pin(Sending::new(self.body(), range));
        sending.as_mut().splice(&self.ledger);
        sending
    }

    /// Does as the wire does; how many bytes were a piece.
    fn write(&self, bytes: &Bytes, sent: &mut Vec<u8>) -> usize {
        let Some(piece) = self.ledger.next(&[IoSlice::new(bytes)]).unwrap().piece else {
            sent.extend_from_slice(bytes);
            return 0;
        };
        let from = sent.len();
        sent.resize(from + piece.length, 0);
        piece.source.file().read_exact_at(&mut sent[from..], piece.offset).unwrap();
        self.ledger.sent(piece.length);
        piece.length
    }

    fn whole(&self) -> Got {
        self.send(0..LENGTH as u64)
    }

    fn flip(&self, at: u64) {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    fn damaged(&self) -> u64 {
        self.store.usage().faults_corrupt
    }
}

fn touch(path: &Path) {
    File::options().write(true).open(path).unwrap().set_modified(UNIX_EPOCH).unwrap();
}

#[test]
fn what_was_sent_whole_and_right_goes_by_the_kernel_until_it_changes() {
    let Some(stage) = Stage::new() else { return };
    assert_eq!(stage.whole(), READ);
    for _ in 0..2 {
        assert_eq!(stage.whole(), SPLICED);
    }
    touch(&stage.path);
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    let (copy, path) = (stage.folder.path().join("copy"), &stage.path);
    fs::copy(path, &copy).unwrap();
    fs::rename(&copy, path).unwrap();
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    put(&stage.store, KEY, pattern(LENGTH));
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    let entry = run(stage.store.get(KeyHash::of(KEY), KEY)).unwrap();
    stage.store.freshen(KeyHash::of(KEY), &entry, stored_with(HeaderMap::new()));
    run(stage.store.flush());
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    assert_eq!(stage.damaged(), 0);
}

#[test]
fn only_what_was_sent_whole_is_known_to_be_right() {
    let Some(stage) = Stage::new() else { return };
    let length = LENGTH as u64;
    for range in [0..length - 1, 1..length, 0..100_000, length - 100_000..length] {
        assert_eq!(stage.send(range.clone()).by_kernel, 0, "{range:?}");
    }
    let mut left = stage.sending(0..length);
    run(poll_fn(|cx| left.as_mut().poll_frame(cx))).unwrap().unwrap();
    drop(left);
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    for (range, by_kernel) in [
        (0..length - 1, LENGTH - 1),
        (70_000..length, LENGTH - 70_000),
        (1..SPLICED_BYTES_MIN + 1, SPLICED_BYTES_MIN as usize),
        (1..SPLICED_BYTES_MIN, 0),
        (5..6, 0),
    ] {
        assert_eq!(stage.send(range.clone()), Got { by_kernel, whole: true }, "{range:?}");
    }
}

#[test]
fn damage_is_found_when_the_file_changed_and_amid_a_body() {
    for at in [200_000, 1_400_000] {
        let Some(stage) = Stage::new() else { return };
        assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
        stage.flip(at);
        assert_eq!(stage.whole(), Got { by_kernel: 0, whole: false });
        until(|| stage.damaged() == 1);
        assert!(!stage.path.exists(), "put aside");
    }
    let Some(stage) = Stage::new() else { return };
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    let (mut sending, mut sent) = (stage.sending(0..LENGTH as u64), Vec::new());
    run(async {
        let first = poll_fn(|cx| sending.as_mut().poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(stage.write(first.data_ref().unwrap(), &mut sent), PIECE_BYTES_MAX);
        stage.flip(1_400_000);
        while let Some(Ok(frame)) = poll_fn(|cx| sending.as_mut().poll_frame(cx)).await {
            assert_eq!(stage.write(frame.data_ref().unwrap(), &mut sent), 0, "read from now on");
        }
    });
    assert!(pattern(LENGTH).starts_with(&sent) && sent.len() < LENGTH);
    until(|| stage.damaged() == 1);
}

#[test]
fn what_the_page_cache_does_not_have_is_read_by_a_job() {
    let Some(stage) = Stage::new() else { return };
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    let sending = stage.sending(0..LENGTH as u64);
    until(|| {
        forget(&stage.path);
        !stage.body().disk.warm.has(&sending.body.file, 100_000)
    });
    drop(sending);
    let cold = stage.whole();
    assert!(cold.whole && cold.by_kernel < LENGTH, "{cold:?}");
    assert_eq!(stage.whole(), SPLICED);
}

#[test]
fn a_removed_file_goes_to_its_end() {
    let Some(stage) = Stage::new() else { return };
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    let (mut sending, mut sent) = (stage.sending(0..LENGTH as u64), Vec::new());
    run(async {
        let first = poll_fn(|cx| sending.as_mut().poll_frame(cx)).await.unwrap().unwrap();
        stage.write(first.data_ref().unwrap(), &mut sent);
        stage.store.remove(KeyHash::of(KEY)).await;
        while let Some(frame) = poll_fn(|cx| sending.as_mut().poll_frame(cx)).await {
            stage.write(frame.unwrap().data_ref().unwrap(), &mut sent);
        }
    });
    assert!(sent == pattern(LENGTH));
}

#[test]
fn what_has_just_changed_may_change_again_unseen() {
    let clock = Clock::manual(Clock::Real.now());
    let Some(stage) = Stage::at(clock.clone()) else { return };
    assert_eq!((stage.whole(), stage.whole()), (READ, READ));
    clock.advance(Duration::from_secs(60));
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
}

#[test]
fn failures_of_the_wire_are_the_disks() {
    let Some(stage) = Stage::new() else { return };
    assert_eq!((stage.whole(), stage.whole()), (READ, SPLICED));
    let body = stage.body();
    run(async { body.failed(Failure::Io(io::Error::other("as asked"))) });
    until(|| stage.store.usage().faults_read == 1);
    run(async { body.failed(Failure::Refused) });
    assert_eq!((stage.whole(), stage.whole()), (READ, READ), "not again");
    assert_eq!(stage.damaged(), 0);
    run(async { body.failed(Failure::CutShort) });
    until(|| stage.damaged() == 1 && !stage.path.exists());
}
