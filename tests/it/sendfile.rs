//! Large bodies: those on disk are read and verified the first time and sent by the kernel then,
//! those in memory by way of a file there. What a client gets is the same.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use socket2::SockRef;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::disk::{file_of, on_disk, restarted, stored};
use crate::harness::client::parse;
use crate::harness::http2::Http2;
use crate::harness::proxy::CACHED;
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

/// Below, at and above the length from which bodies are not read whole, and that of one piece.
const LENGTHS: [usize; 7] = [65_535, 65_536, 65_537, 131_072, 262_144, 262_145, 3_000_001];

struct Stage {
    folder: TempDir,
    origin: Origin,
    proxy: Proxy,
}

impl Stage {
    /// Nothing rests in memory.
    async fn new(sendfile: bool, more: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let origin = Origin::start().await;
        let config = on_disk(folder.path(), "levels = \"1:2\"").replace("64m", "0");
        let proxy =
            Proxy::with(&format!("[server]\nsendfile = {sendfile}\n{more}\n{config}"), &origin)
                .await;
        Self { folder, origin, proxy }
    }

    /// Everything rests in memory.
    async fn in_memory() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let origin = Origin::start().await;
        let memory = "memory = \"64m\"\nmemory_max_object = \"32m\"";
        let config = CACHED.replace("memory = \"64m\"", memory);
        let proxy = Proxy::with(&config, &origin).await;
        Self { folder, origin, proxy }
    }

    /// Has a body stored; `sent` times it was sent since, each time right.
    async fn store(&self, path: &str, body: &[u8], sent: usize) {
        let reply = ok("").header("cache-control", "max-age=100").bytes(body.to_vec());
        self.origin.on(path, reply);
        self.proxy.get(path).await;
        let is_hit = async || self.proxy.send("HEAD", path, &[]).await.cache() == "HIT";
        eventually("it is stored", is_hit).await;
        self.proxy.flush().await;
        for number in 0..sent {
            let hit = self.proxy.get(path).await;
            assert_eq!(hit.cache(), "HIT", "{path}, {number}");
            assert!(hit.complete && hit.body == body, "{path}, {number}");
        }
    }

    /// A client that has asked for a path and reads no faster than it is told to.
    async fn slow(&self, path: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        SockRef::from(&socket).set_recv_buffer_size(64 * 1024).unwrap();
        let mut client = socket.connect(self.proxy.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    fn flip(&self, path: &str, at: u64) {
        let file = file_of(self.folder.path(), path);
        let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}

/// Files in memory of this length that are open.
fn files_in_memory(length: usize) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_ours = fs::read_link(&path).ok()?.starts_with("/memfd:larder (deleted)");
        (is_ours && fs::metadata(&path).ok()?.len() == length as u64).then_some(())
    });
    open.count()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// What a client gets that reads `first` bytes, waits for `meanwhile`, and reads the rest.
async fn read(mut client: TcpStream, first: usize, meanwhile: impl Future<Output = ()>) -> Vec<u8> {
    let mut received = vec![0; first];
    client.read_exact(&mut received).await.unwrap();
    meanwhile.await;
    // A reset leaves what came before it.
    let _ = client.read_to_end(&mut received).await;
    received
}

#[tokio::test]
async fn bodies_of_every_length_come_right_however_they_are_asked_for() {
    for sendfile in [true, false] {
        let stage = Stage::new(sendfile, "").await;
        for length in LENGTHS {
            let (path, body) = (format!("/{length}"), pattern(length));
            stage.store(&path, &body, 3).await;
            for (first, last) in
                [(0, length - 1), (1, length - 2), (7, 65_543), (length - 9, length)]
            {
                let range = format!("bytes={first}-{last}");
                let part = stage.proxy.send("GET", &path, &[("range", &range)]).await;
                assert_eq!((part.status, part.complete), (206, true), "{range} of {length}");
                let last = last.min(length - 1);
                assert!(part.body == body[first..=last], "{range} of {length}");
            }
            let ranges = [("range", "bytes=0-9,65000-65500")];
            let several = stage.proxy.send("GET", &path, &ranges).await;
            assert!(several.header("content-type").starts_with("multipart/byteranges"));
            for part in [&body[..10], &body[65_000..=65_500]] {
                assert!(several.body.windows(part.len()).any(|bytes| bytes == part), "{length}");
            }
            assert_eq!(stage.origin.seen(&path), 1);
        }
    }
}

#[tokio::test]
async fn short_bodies_come_right_from_their_files_and_damage_is_not_sent() {
    for (sendfile, length) in [(true, 8_191), (true, 8_192), (true, 20_000), (false, 20_000)] {
        let stage = Stage::new(sendfile, "").await;
        let body = pattern(length);
        stage.store("/a", &body, 4).await;
        let part = stage.proxy.send("GET", "/a", &[("range", "bytes=7-4090")]).await;
        assert!(part.status == 206 && part.body == body[7..=4_090], "{length}");
        let path = file_of(stage.folder.path(), "/a");
        // Near the end of the body.
        stage.flip("/a", fs::metadata(&path).unwrap().len() - 100);
        stage.proxy.advance_s(1);
        let again = stage.proxy.get("/a").await;
        assert!(again.cache() == "MISS" && again.complete && again.body == body, "{length}");
    }
}

#[tokio::test]
async fn many_answers_on_one_connection_come_in_order() {
    let stage = Stage::new(true, "").await;
    let bodies: Vec<_> = [10, 1_000_000, 300, 70_000, 262_144].map(pattern).into();
    for (number, body) in bodies.iter().enumerate() {
        stage.store(&format!("/{number}"), body, 2).await;
    }
    let order = [1, 0, 1, 3, 2, 0, 4, 4, 1, 2, 3, 0];
    let mut asked = Vec::new();
    for (turn, number) in order.iter().enumerate() {
        let method = if turn % 4 == 2 { "HEAD" } else { "GET" };
        let line = format!("{method} /{number} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        asked.extend_from_slice(line.as_bytes());
    }
    asked.extend_from_slice(b"GET /1 HTTP/1.0\r\nHost: example.com\r\n\r\n");
    let mut client = TcpStream::connect(stage.proxy.address).await.unwrap();
    client.write_all(&asked).await.unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    let mut rest = &received[..];
    for (turn, number) in order.into_iter().chain([1]).enumerate() {
        let is_head = turn % 4 == 2 && turn < order.len();
        let head = rest.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let response = parse(rest, is_head);
        assert_eq!((response.status, response.cache()), (200, "HIT".to_owned()), "{turn}");
        let body = &bodies[number];
        assert_eq!(response.header("content-length"), body.len().to_string(), "{turn}");
        rest = &rest[head..];
        if !is_head {
            assert!(rest.starts_with(body), "{turn}");
            rest = &rest[body.len()..];
        }
    }
    assert!(rest.is_empty());
}

#[tokio::test]
async fn what_is_purged_or_replaced_meanwhile_goes_out_whole() {
    let stage = Stage::new(true, "").await;
    let (old, new) = (pattern(8_000_000), pattern(100_000));
    for purge in [true, false] {
        stage.store("/a", &old, 2).await;
        let client = stage.slow("/a").await;
        let received = read(client, 100_000, async {
            if purge {
                stage.proxy.send("PURGE", "/a", &[]).await;
            }
            stage.origin.on("/a", ok("").header("cache-control", "max-age=100").bytes(new.clone()));
            stage.proxy.advance_s(100);
            assert!(stage.proxy.get("/a").await.body == new);
            stage.proxy.flush().await;
        });
        let response = parse(&received.await, false);
        assert!(response.complete && response.body == old, "purged: {purge}");
        stage.proxy.send("PURGE", "/a", &[]).await;
    }
}

#[tokio::test]
async fn damage_after_it_was_verified_is_found() {
    let stage = Stage::new(true, "").await;
    let body = pattern(3_000_000);
    stage.store("/a", &body, 2).await;
    stage.flip("/a", 1_500_000);
    let damaged = stage.proxy.get("/a").await;
    assert!(!damaged.complete && body.starts_with(&damaged.body), "{}", damaged.body.len());
    let path = file_of(stage.folder.path(), "/a");
    eventually("it is put aside", async || !path.exists()).await;
    let again = stage.proxy.get("/a").await;
    assert_eq!((again.cache().as_str(), again.body == body), ("MISS", true));
}

#[tokio::test]
async fn a_file_that_is_cut_short_or_damaged_meanwhile_never_looks_whole() {
    let cut = |path: &Path| OpenOptions::new().write(true).open(path).unwrap().set_len(5_000_000);
    for is_cut in [true, false] {
        let stage = Stage::new(true, "").await;
        let body = pattern(16_000_000);
        stage.store("/a", &body, 2).await;
        let path = file_of(stage.folder.path(), "/a");
        let client = stage.slow("/a").await;
        let received = read(client, 100_000, async {
            match is_cut {
                true => cut(&path).unwrap(),
                false => stage.flip("/a", 15_000_000),
            }
        });
        let response = parse(&received.await, false);
        assert!(!response.complete && body.starts_with(&response.body), "cut: {is_cut}");
        eventually("it is put aside", async || !path.exists()).await;
        assert_eq!(stage.proxy.get("/a").await.cache(), "MISS");
    }
}

#[tokio::test]
async fn the_log_counts_what_the_kernel_sends() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let stage = Stage::new(true, &format!("[log]\naccess = \"{}\"", log.display())).await;
    stage.store("/a", &pattern(1_000_000), 3).await;
    let logged = async || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter(|line| line.contains("GET /a ") && line.contains(" 1000000 ")).count()
    };
    eventually("they are logged", async || logged().await == 4).await;
}

#[tokio::test]
async fn bodies_in_memory_come_right_from_bytes_and_from_files() {
    let stage = Stage::in_memory().await;
    for length in [131_071, 131_072, 300_001, 3_000_001] {
        let (path, body) = (format!("/{length}"), pattern(length));
        stage.store(&path, &body, 2).await;
        let is_large = length > 131_071;
        let expected = usize::from(is_large);
        eventually("it is in a file", async || files_in_memory(length) == expected).await;
        stage.store(&path, &body, 3).await;
        for (first, last) in [(0, length - 1), (1, length - 2), (7, 65_543), (length - 9, length)] {
            let range = format!("bytes={first}-{last}");
            let part = stage.proxy.send("GET", &path, &[("range", &range)]).await;
            assert_eq!((part.status, part.complete), (206, true), "{range} of {length}");
            assert!(part.body == body[first..=last.min(length - 1)], "{range} of {length}");
        }
        let ranges = [("range", "bytes=0-9,65000-65500")];
        let several = stage.proxy.send("GET", &path, &ranges).await;
        for part in [&body[..10], &body[65_000..=65_500]] {
            assert!(several.body.windows(part.len()).any(|bytes| bytes == part), "{length}");
        }
        assert_eq!(stage.proxy.send("HEAD", &path, &[]).await.body.len(), 0);
        let over_http2 = Http2::connect(stage.proxy.address).await.get(&path).await;
        assert!(over_http2.body == body, "{length}");
        assert_eq!(stage.origin.seen(&path), 1);
    }
}

#[tokio::test]
async fn a_file_in_memory_lasts_as_long_as_it_is_read() {
    let stage = Stage::in_memory().await;
    let (old, new) = (pattern(8_000_003), pattern(100_000));
    for leaves in [false, true] {
        stage.store("/a", &old, 2).await;
        eventually("it is in a file", async || files_in_memory(old.len()) == 1).await;
        let client = stage.slow("/a").await;
        let purge = async {
            assert_eq!(stage.proxy.send("PURGE", "/a", &[]).await.status, 200);
            stage.origin.on("/a", ok("").header("cache-control", "max-age=100").bytes(new.clone()));
            assert!(stage.proxy.get("/a").await.body == new);
            assert_eq!(files_in_memory(old.len()), 1);
        };
        if leaves {
            let mut client = client;
            client.read_exact(&mut [0; 100_000]).await.unwrap();
            purge.await;
        } else {
            let response = parse(&read(client, 100_000, purge).await, false);
            assert!(response.complete && response.body == old);
        }
        let is_gone = async || {
            // Whoever asks has what was removed let go of at once.
            stage.proxy.stats().await;
            files_in_memory(old.len()) == 0
        };
        eventually("it is gone", is_gone).await;
        stage.proxy.send("PURGE", "/a", &[]).await;
    }
}

#[tokio::test]
async fn bodies_in_files_count_as_memory_and_make_room() {
    // In a full tier what is new has to be asked for more often than what it takes the place of.
    const FITTING: usize = 16;
    const ASKED: usize = 3;
    let stage = Stage::in_memory().await;
    for number in 0..30 {
        let (path, body) = (format!("/{number}"), pattern(4_000_000 + number));
        stage.store(&path, &body, 0).await;
        let mut hits = 0;
        for _ in 0..if number < FITTING { ASKED } else { 4 * ASKED } {
            let answer = stage.proxy.get(&path).await;
            assert!(answer.complete && answer.body == body, "{path}");
            hits = if answer.cache() == "HIT" { hits + 1 } else { 0 };
            // The tier's housekeeping, which removes what was not worth the room.
            stage.proxy.stats().await;
        }
        assert!(hits >= ASKED, "{path} is asked for more often than others, and does not stay");
    }
    let is_within = async || {
        let zone = stage.proxy.stats().await["zones"]["test"]["memory"].clone();
        let held = (0..30).map(|n| files_in_memory(4_000_000 + n)).sum::<usize>();
        zone["bytes"].as_u64().unwrap() <= 64 << 20 && (1..=16).contains(&held)
    };
    eventually("no more than fits is held", is_within).await;
}

#[tokio::test]
async fn a_body_in_a_file_is_freshened_and_reaches_the_disk() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let origin = Origin::start().await;
    let config = on_disk(folder.path(), "levels = \"1:2\"");
    let proxy = Proxy::with(&config, &origin).await;
    let body = pattern(500_009);
    let lasting =
        |reply: Reply| reply.header("cache-control", "max-age=100").header("etag", "\"1\"");
    origin.on("/a", lasting(ok("")).bytes(body.clone()));
    proxy.get("/a").await;
    stored(&proxy, "/a").await;
    for _ in 0..3 {
        assert!(proxy.get("/a").await.body == body);
    }
    eventually("it is in a file", async || files_in_memory(body.len()) == 1).await;
    proxy.advance_s(101);
    // The head outgrows its place on disk, so all is written anew.
    origin.on("/a", lasting(Reply::status(304, "")).header("x-more", &"y".repeat(9000)));
    let again = proxy.get("/a").await;
    assert_eq!((again.cache().as_str(), again.body == body), ("REVALIDATED", true));
    let proxy = restarted(proxy, &config, &origin).await;
    let hit = proxy.get("/a").await;
    assert_eq!((hit.cache().as_str(), hit.body == body), ("HIT", true));
    assert_eq!(hit.header("x-more").len(), 9000);
}
