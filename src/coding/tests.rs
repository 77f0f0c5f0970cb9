//! What was coded decodes to what it was, however it came.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

use proptest::prelude::*;

use super::*;

const LEVELS: Levels = Levels { gzip: 6, brotli: 4, zstd: 3 };

/// A body that gives these pieces; where one is empty, it has nothing for a moment, and where it is
/// one zero byte, nothing for ever.
struct Pieces(Vec<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.0.pop() {
            Some(bytes) if bytes.is_empty() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(bytes) if *bytes == [0] => Poll::Pending,
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Ready(None),
        }
    }
}

fn body(mut pieces: Vec<Bytes>) -> Body {
    pieces.reverse();
    Body::stream(Pieces(pieces))
}

async fn read(mut body: Body) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(bytes) = frame?.into_data() {
            all.extend_from_slice(&bytes);
        }
    }
    Ok(all)
}

fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut all).unwrap(),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut all).unwrap(),
        Coding::Zstd => {
            zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut all).unwrap()
        }
    };
    all
}

/// The first bytes of what is not all here; nothing where they cannot be decoded yet.
fn begun(coding: Coding, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut begun = vec![0; length];
    let read = match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_exact(&mut begun),
        Coding::Brotli => brotli::Decompressor::new(bytes, 64).read_exact(&mut begun),
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_exact(&mut begun),
    };
    read.is_ok().then_some(begun)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_decoded_is_what_came(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(1u8..=255, 0..300),
                (1u8..=255, 0usize..200_000).prop_map(|(byte, length)| vec![byte; length]),
                "[a-z ]{0,2000}".prop_map(String::into_bytes),
            ],
            0..12,
        ),
    ) {
        let expected = pieces.concat();
        let pieces: Vec<_> = pieces.into_iter().map(Bytes::from).collect();
        for coding in Coding::ALL {
            let coded = Coder::new(coding, LEVELS).unwrap().code(body(pieces.clone()));
            let found = runtime().block_on(read(coded)).unwrap();
            prop_assert!(decoded(coding, &found) == expected, "{coding:?}");
        }
    }

    #[test]
    fn all_that_came_before_a_flush_can_be_decoded(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 1..6),
    ) {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, LEVELS).unwrap();
            let (mut given, mut came) = (Vec::new(), Vec::new());
            for piece in &pieces {
                encoder.write(piece).unwrap();
                encoder.flush().unwrap();
                given.extend_from_slice(&encoder.take());
                came.extend_from_slice(piece);
                prop_assert!(begun(coding, &given, came.len()).is_some_and(|found| found == came));
            }
        }
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_came_can_be_decoded_when_nothing_more_comes() {
    for coding in Coding::ALL {
        runtime().block_on(async {
            let pieces = ["data: 1\n\n", "\0"].map(Bytes::from).to_vec();
            let mut coded = Coder::new(coding, LEVELS).unwrap().code(body(pieces));
            let first = std::future::poll_fn(|cx| Pin::new(&mut coded).poll_frame(cx)).await;
            let first = first.unwrap().unwrap().into_data().unwrap();
            let found = begun(coding, &first, 9);
            assert_eq!(found.as_deref(), Some(&b"data: 1\n\n"[..]), "{coding:?}");
        });
    }
}

#[test]
fn a_long_body_gives_way_to_others_on_its_worker() {
    let woken = Arc::new(Count::default());
    let waker = Arc::clone(&woken).into();
    let mut cx = Context::from_waker(&waker);
    let long = Body::full(vec![b'a'; WITHOUT_PAUSE_BYTES * 4]);
    let mut coded = Coder::new(Coding::Zstd, LEVELS).unwrap().code(long);
    let mut pauses = 0;
    loop {
        match Pin::new(&mut coded).poll_frame(&mut cx) {
            Poll::Pending => pauses += 1,
            Poll::Ready(Some(frame)) => drop(frame.unwrap()),
            Poll::Ready(None) => break,
        }
    }
    assert!(pauses >= 3, "{pauses}");
    assert_eq!(woken.0.load(Ordering::Relaxed), pauses, "it asked to be polled again");
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_end_well() {
    let joined = Body::join(vec![Body::full("abc")], 7);
    for coding in Coding::ALL {
        let joined = Body::join(vec![Body::full("abc")], 7);
        assert!(
            read(Coder::new(coding, LEVELS).unwrap().code(joined)).await.is_err(),
            "{coding:?}"
        );
    }
    assert!(read(joined).await.is_err());
}

#[test]
fn every_level_that_can_be_set_gives_an_encoder() {
    for (coding, last) in [(Coding::Gzip, 9), (Coding::Brotli, 11), (Coding::Zstd, 19)] {
        for level in [1, last] {
            let levels = Levels { gzip: level.min(9), brotli: level.min(11), zstd: level };
            let mut encoder = Encoder::new(coding, levels).unwrap();
            encoder.write(b"some text, some text").unwrap();
            assert_eq!(decoded(coding, &encoder.finish().unwrap()), b"some text, some text");
        }
    }
}
