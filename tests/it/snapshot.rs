//! What an operator carries from one machine to another, with the program he does it with.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use larder::clock::Clock;
use larder::config::load;
use larder::snapshot::Watch;
use larder::snapshot::folder::Folder;

use crate::disk::on_disk;
use crate::harness::{Origin, Proxy, Reply, eventually, ok};

/// A machine: a zone in a folder of its own, and a configuration file that says so.
struct Machine {
    folder: tempfile::TempDir,
    config: String,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = on_disk(&folder.path().join("zone"), "inactive = \"1d\"");
        Self { folder, config }
    }

    /// With the machine's own clock, as the program has it that loads.
    async fn serve(&self, origin: &Origin) -> Proxy {
        Proxy::with_clock(&self.config, origin, Clock::Real).await
    }

    async fn serve_by_manual_clock(&self, origin: &Origin) -> Proxy {
        Proxy::with(&self.config, origin).await
    }

    /// Loads by this clock.
    fn load(&self, dir: &Path, clock: &Clock) {
        let config = load::parse(&self.config.replace("ORIGIN", "127.0.0.1:9"), "test.toml");
        let folder = Folder::to_load(dir).unwrap();
        let zone = &config.unwrap().config.zones[0];
        larder::snapshot::load::load(zone, &folder, "test", clock, &mut Silent).unwrap();
    }

    /// Runs `larder snapshot ...` with the machine's configuration; exit status and both outputs.
    fn snapshot(&self, arguments: &[&str], admin: Option<&Proxy>) -> (i32, String, String) {
        let admin = admin.and_then(|proxy| proxy.admin);
        let admin = admin.map_or(String::new(), |at| format!("\n[admin]\nlisten = \"{at}\"\n"));
        let file = self.folder.path().join("larder.toml");
        let config = self.config.replace("ORIGIN", "127.0.0.1:9");
        fs::write(&file, config + &admin).unwrap();
        run(arguments, &["-c", file.to_str().unwrap()])
    }
}

struct Silent;

impl Watch for Silent {
    fn begin(&mut self, _entries: u64, _bytes: u64) {}
    fn advance(&mut self, _entries: u64, _bytes: u64) {}
    fn damaged(&mut self, what: &str, why: &dyn std::fmt::Display) {
        panic!("{what}: {why}");
    }
}

fn run(arguments: &[&str], more: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("snapshot").args(arguments).args(more).env_remove("LARDER_CONFIG");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=100")
}

fn path(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

#[tokio::test]
async fn a_new_machine_starts_warm() {
    let origin = Origin::start().await;
    let large = "0123456789abcdef".repeat(200_000);
    origin.on("/large", lasting(&large)).on("/small", lasting("small"));
    let vary = |text| lasting(text).header("vary", "Accept-Language");
    origin.next("/vary", vary("hello")).next("/vary", vary("hallo"));
    let old = Machine::new();
    let proxy = old.serve(&origin).await;
    for target in ["/large", "/small"] {
        assert_eq!(proxy.get(target).await.cache(), "MISS");
    }
    // A client may have all of a body a little before it is stored.
    let is_stored = async || proxy.send("HEAD", "/large", &[]).await.cache() == "HIT";
    eventually("it is stored", is_stored).await;
    let languages = [("en", "hello"), ("de", "hallo")];
    for (language, _) in languages {
        proxy.send("GET", "/vary", &[("accept-language", language)]).await;
    }
    proxy.flush().await;
    let carried = tempfile::tempdir().unwrap();
    let dir = carried.path().join("snapshot");
    // While the server works.
    let (status, said, problem) = old.snapshot(&["save", path(&dir)], Some(&proxy));
    assert_eq!(status, 0, "{said}{problem}");
    assert!(said.starts_with("saved 4 responses with 3.1 MiB from zone test\n"), "{said}");

    let new = Machine::new();
    let (status, said, problem) = new.snapshot(&["load", path(&dir)], None);
    assert_eq!(status, 0, "{said}{problem}");
    assert!(said.starts_with("loaded 4 responses with 3.1 MiB into zone test\n"), "{said}");
    let fresh = new.serve(&origin).await;
    assert_eq!(fresh.line("/small").await, "200 HIT small");
    let hit = fresh.get("/large").await;
    assert_eq!((hit.cache(), hit.text() == large), ("HIT".into(), true));
    for (language, text) in languages {
        let hit = fresh.send("GET", "/vary", &[("accept-language", language)]).await;
        assert_eq!(hit.line(), format!("200 HIT {text}"));
    }
    let seen = ["/large", "/small", "/vary"].map(|target| origin.seen(target));
    assert_eq!(seen, [1, 1, 2], "nothing was asked again");
}

#[tokio::test]
async fn what_is_asked_for_most_is_saved_first() {
    let origin = Origin::start().await;
    let machine = Machine::new();
    let proxy = machine.serve_by_manual_clock(&origin).await;
    for target in ["/a", "/b", "/c", "/d"] {
        origin.on(target, lasting(target));
        proxy.get(target).await;
    }
    proxy.flush().await;
    proxy.advance_s(5);
    assert_eq!(proxy.get("/b").await.cache(), "HIT");
    proxy.advance_s(5);
    assert_eq!(proxy.get("/c").await.cache(), "HIT");
    let carried = tempfile::tempdir().unwrap();
    let dir = carried.path().join("snapshot");
    let asked = ["save", path(&dir), "--hottest", "2"];
    let (status, said, problem) = machine.snapshot(&asked, Some(&proxy));
    assert_eq!((status, problem.as_str()), (0, ""), "{said}");
    let other = Machine::new();
    other.load(&dir, &proxy.clock);
    let warm = other.serve_by_manual_clock(&origin).await;
    for (target, cache) in [("/a", "MISS"), ("/b", "HIT"), ("/c", "HIT"), ("/d", "MISS")] {
        assert_eq!(warm.get(target).await.cache(), cache, "{target}");
    }
    // Without a server there is only the time of writing to go by, which is said.
    drop(proxy);
    let (status, _, problem) =
        machine.snapshot(&[&asked[..], &["--admin", "127.0.0.1:9"]].concat(), None);
    assert_eq!(status, 0);
    assert!(problem.starts_with("note: no server is running"), "{problem}");
}

#[tokio::test]
async fn an_operator_is_told_what_he_cannot_do() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let machine = Machine::new();
    let carried = tempfile::tempdir().unwrap();
    let dir = carried.path().join("snapshot");
    let (status, _, problem) = machine.snapshot(&["save", path(&dir)], None);
    assert!(status == 1 && problem.contains("no server has stored anything in"), "{problem}");
    assert!(!dir.exists(), "nothing is left of a save that could not begin");
    let (status, _, problem) = machine.snapshot(&["load", path(carried.path())], None);
    assert!(status == 1 && problem.contains("is no snapshot"), "{problem}");
    let proxy = machine.serve(&origin).await;
    proxy.get("/a").await;
    proxy.flush().await;
    assert_eq!(machine.snapshot(&["save", path(&dir)], None).0, 0);
    let (status, _, problem) = machine.snapshot(&["load", path(&dir)], None);
    assert!(status == 1 && problem.contains("has to be stopped first"), "{problem}");
    let (status, _, problem) = machine.snapshot(&["save", path(&dir), "--zone", "x"], None);
    assert!(status == 2 && problem.contains("no zone is called `x`"), "{problem}");
    let other = Machine::new();
    let (status, _, problem) = other.snapshot(&["load", path(&dir), "--from", "x"], None);
    assert!(status == 1 && problem.contains("no zone `x`, but `test`"), "{problem}");

    let no_folder = find(&dir, b"one").unwrap();
    let arguments = ["load", path(&dir), "--cache-dir", path(&no_folder)];
    let (status, _, problem) = run(&arguments, &[]);
    assert!(status == 1 && problem.contains("File exists"), "{problem}");
    assert!(!problem.contains("stopped"), "no server is in the way: {problem}");

    // A body that rotted on its way.
    fs::write(find(&dir, b"one").unwrap(), "onE").unwrap();
    let (status, said, problem) = other.snapshot(&["load", path(&dir)], None);
    assert_eq!(status, 1);
    assert!(said.contains("left out 1: damaged in the snapshot"), "{said}");
    assert!(
        problem.contains("http://example.com/a: ") && problem.ends_with("error: 1 damaged\n"),
        "{problem}"
    );
    let warm = other.serve(&origin).await;
    assert_eq!(warm.get("/a").await.cache(), "MISS");
}

#[tokio::test]
async fn a_folder_without_a_configuration_is_that_of_serve_to() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let machine = Machine::new();
    let proxy = machine.serve(&origin).await;
    proxy.get("/a").await;
    proxy.flush().await;
    let carried = tempfile::tempdir().unwrap();
    let (dir, to) = (carried.path().join("snapshot"), carried.path().join("to"));
    let from = machine.folder.path().join("zone");
    let (status, said, problem) = run(&["save", path(&dir)], &["--cache-dir", path(&from)]);
    assert_eq!(status, 0, "{problem}");
    assert!(said.starts_with("saved 1 response with 3 B from zone default\n"), "{said}");
    let (status, said, problem) = run(&["load", path(&dir)], &["--cache-dir", path(&to)]);
    assert_eq!(status, 0, "{problem}");
    assert!(said.starts_with("loaded 1 response with 3 B into zone default\n"), "{said}");
}

#[tokio::test]
async fn a_zone_says_what_it_is_asked_for_most() {
    let origin = Origin::start().await;
    let machine = Machine::new();
    let proxy = machine.serve_by_manual_clock(&origin).await;
    for target in ["/a", "/b"] {
        origin.on(target, lasting(target));
        proxy.get(target).await;
    }
    proxy.flush().await;
    proxy.advance_s(5);
    proxy.get("/a").await;
    let hash = |target: &str| {
        let key = format!("http://example.com{target}");
        larder::semantics::key::KeyHash::of(key.as_bytes()).to_string()
    };
    let (status, document) = admin_get(&proxy, "/v1/zones/test/hottest?count=9").await;
    assert_eq!(status, 200);
    assert_eq!(document, serde_json::json!({"zone": "test", "hashes": [hash("/a"), hash("/b")]}));
    let (_, document) = admin_get(&proxy, "/v1/zones/test/hottest?count=1").await;
    assert_eq!(document["hashes"], serde_json::json!([hash("/a")]));
    assert_eq!(admin_get(&proxy, "/v1/zones/x/hottest").await.0, 404);
    assert_eq!(admin_get(&proxy, "/v1/zones/test/hottest?count=0").await.0, 400);
}

async fn admin_get(proxy: &Proxy, path: &str) -> (u16, serde_json::Value) {
    let to = proxy.admin.unwrap();
    let answer = crate::harness::client::request(to, "GET", path, &[("host", "localhost")]).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// The file below a folder that holds these bytes.
fn find(folder: &Path, bytes: &[u8]) -> Option<std::path::PathBuf> {
    fs::read_dir(folder).unwrap().flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => find(&path, bytes),
        path => (fs::read(&path).unwrap() == bytes).then_some(path),
    })
}
