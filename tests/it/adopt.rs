//! What nginx has stored, taken over: what a client gets of it then, and what the origin is asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use larder::adopt::take::{Adopted, LeftOut, Wanted, adopt};
use larder::adopt::varying::Tries;
use larder::clock::Clock;
use larder::config::load;
use larder::snapshot::Watch;
use md5::{Digest, Md5};

use crate::disk::on_disk;
use crate::harness::proxy::STARTS_AT_S;
use crate::harness::{Origin, Port, Proxy, Reply, ok};

/// A file as nginx writes it, by default of a response that was stored a moment ago and is fresh
/// for a hundred seconds.
#[derive(Clone)]
struct File {
    key: String,
    date_s: u64,
    fresh_s: i64,
    updating_s: u64,
    error_s: u64,
    vary: String,
    /// What the request said in the fields that `Vary` names, as nginx reads it.
    said: String,
    /// Not the first response under its key, so that it rests at its variant.
    secondary: bool,
    head: String,
    body: Vec<u8>,
}

impl File {
    fn new(key: &str, status: &str, fields: &[&str], body: &[u8]) -> Self {
        let length = format!("Content-Length: {}", body.len());
        let lines: Vec<_> = [format!("HTTP/1.1 {status}"), length]
            .into_iter()
            .chain(fields.iter().map(|field| (*field).to_owned()))
            .collect();
        let (vary, said, body) = (String::new(), String::new(), body.to_vec());
        let head = lines.join("\r\n") + "\r\n\r\n";
        let (key, date_s) = (key.to_owned(), STARTS_AT_S);
        let (fresh_s, updating_s, error_s, secondary) = (100, 0, 0, false);
        Self { key, date_s, fresh_s, updating_s, error_s, vary, said, secondary, head, body }
    }

    fn varying(self, vary: &str, said: &str) -> Self {
        let head = self.head.replacen("\r\n", &format!("\r\nVary: {vary}\r\n"), 1);
        Self { vary: vary.to_owned(), said: said.to_owned(), head, ..self }
    }

    fn secondary(self) -> Self {
        Self { secondary: true, ..self }
    }

    fn variant(&self) -> [u8; 16] {
        let main: [u8; 16] = Md5::digest(&self.key).into();
        Md5::digest([&main[..], self.said.as_bytes()].concat()).into()
    }

    fn name(&self) -> String {
        let hash = if self.secondary { self.variant() } else { Md5::digest(&self.key).into() };
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let head_at = 336 + 6 + self.key.len() + 1;
        let mut bytes = Vec::new();
        let valid_s = self.date_s.saturating_add_signed(self.fresh_s);
        for number in [5, valid_s, self.updating_s, self.error_s, u64::MAX, self.date_s] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(crc32fast::hash(self.key.as_bytes()).to_le_bytes());
        for number in [0, head_at as u16, (head_at + self.head.len()) as u16] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([0; 129]);
        bytes.push(self.vary.len() as u8);
        bytes.extend(self.vary.bytes());
        bytes.resize(316, 0);
        if !self.vary.is_empty() {
            bytes.extend(self.variant());
        }
        bytes.resize(336, 0);
        bytes.extend(format!("\nKEY: {}\n{}", self.key, self.head).bytes());
        bytes.extend(&self.body);
        bytes
    }
}

/// nginx's folder, and a zone beside it.
struct Machine {
    folder: tempfile::TempDir,
    config: String,
    clock: Clock,
}

impl Machine {
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines of the route's cache table.
    fn with(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = on_disk(&folder.path().join("zone"), "inactive = \"1d\"");
        let config = format!("{config}semantics = \"nginx\"\n{lines}\n");
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(STARTS_AT_S + 10));
        fs::create_dir(folder.path().join("nginx")).unwrap();
        Self { folder, config, clock }
    }

    fn nginx(&self) -> PathBuf {
        self.folder.path().join("nginx")
    }

    /// Where nginx has a file, with `levels=1:2`.
    fn path(&self, file: &File) -> PathBuf {
        let name = file.name();
        self.nginx().join(&name[31..]).join(&name[29..31]).join(name)
    }

    fn write(&self, file: &File) -> PathBuf {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, file.bytes()).unwrap();
        path
    }

    fn adopt(&self) -> Adopted {
        self.try_adopt(&Wanted::default(), &mut Named::default()).unwrap()
    }

    fn try_adopt(&self, wanted: &Wanted<'_>, named: &mut Named) -> io::Result<Adopted> {
        let config = self.config.replace("ORIGIN", "127.0.0.1:9");
        let config = load::parse(&config, "test.toml").unwrap().config;
        adopt((&config, &config.zones[0]), &self.nginx(), wanted, &self.clock, named)
    }

    async fn serve(&self, origin: &Origin) -> Proxy {
        Proxy::with_clock(&self.config, origin, self.clock.clone()).await
    }

    /// Runs `larder adopt ...` with the machine's configuration; exit status and both outputs.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let file = self.folder.path().join("larder.toml");
        fs::write(&file, self.config.replace("ORIGIN", "127.0.0.1:9")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.arg("adopt").arg(self.nginx()).arg("-c").arg(file).args(arguments);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

/// What was named as damaged or foreign.
#[derive(Default)]
struct Named(Vec<String>);

impl Watch for Named {
    fn begin(&mut self, _entries: u64, _bytes: u64) {}
    fn advance(&mut self, _entries: u64, _bytes: u64) {}
    fn damaged(&mut self, what: &str, why: &dyn std::fmt::Display) {
        let file = Path::new(what).file_name().unwrap().to_string_lossy();
        self.0.push(format!("{file}: {why}"));
    }
}

const KEY: &str = "http://example.com";

fn file(target: &str, body: &str) -> File {
    File::new(&format!("{KEY}{target}"), "200 OK", &[], body.as_bytes())
}

#[tokio::test]
async fn what_nginx_stored_is_a_hit_for_as_long_as_nginx_would_have_used_it() {
    let machine = Machine::new();
    let large = "0123456789abcdef".repeat(200_000);
    let etag = ["ETag: \"1\"", "Connection: X-Gone", "X-Gone: 1", "X-Kept: a", "X-Kept: b"];
    machine.write(&File::new(&format!("{KEY}/etag?a=1"), "200 OK", &etag, b"with a tag"));
    machine.write(&File::new(&format!("{KEY}/gone"), "410 Gone", &[], b"gone"));
    machine.write(&File::new(&format!("{KEY}/moved"), "301 Moved", &["Location: /to"], b""));
    machine.write(&file("/large", &large));
    let chunked = file("/chunked", "in pieces");
    let coding = chunked.head.replace("Content-Length: 9", "Transfer-Encoding: chunked");
    machine.write(&File { head: coding, ..chunked });
    let adopted = machine.adopt();
    assert_eq!((adopted.responses, adopted.stale, &adopted.left_out), (5, 0, &LeftOut::default()));

    let origin = Origin::start().await;
    let proxy = machine.serve(&origin).await;
    let hit = proxy.get("/etag?a=1").await;
    assert_eq!(hit.line(), "200 HIT with a tag");
    let fields = ["etag", "x-kept", "x-gone", "content-length"].map(|name| hit.header(name));
    assert_eq!(fields, ["\"1\"", "a, b", "-", "10"]);
    assert_eq!(proxy.line("/gone").await, "410 HIT gone");
    let moved = proxy.get("/moved").await;
    assert_eq!((moved.line(), moved.header("location")), ("301 HIT ".into(), "/to".into()));
    assert!(proxy.get("/large").await.text() == large);
    assert_eq!(proxy.line("/chunked").await, "200 HIT in pieces");
    assert_eq!(hit.header("via"), "1.1 larder");
    // Ten seconds passed before it was adopted; the second in which it ends still counts.
    proxy.advance_s(90);
    assert_eq!(proxy.get("/etag?a=1").await.cache(), "HIT");
    proxy.advance_s(1);
    origin.on("/etag?a=1", ok("new"));
    assert_eq!(proxy.get("/etag?a=1").await.cache(), "EXPIRED");
    let asked =
        ["/etag?a=1", "/gone", "/moved", "/large", "/chunked"].map(|path| origin.seen(path));
    assert_eq!(asked, [1, 0, 0, 0, 0]);
}

#[tokio::test]
async fn what_is_stale_is_validated_and_stands_in_as_nginx_would_have_let_it() {
    let machine = Machine::with("revalidate = true\nbackground_update = true");
    let stale = |target: &str| File {
        fresh_s: 2,
        ..File::new(&format!("{KEY}{target}"), "200 OK", &["ETag: \"1\""], target.as_bytes())
    };
    machine.write(&stale("/validated"));
    machine.write(&File { updating_s: 60, ..stale("/updating") });
    machine.write(&File { error_s: 60, ..stale("/error") });
    machine.write(&stale("/none"));
    let adopted = machine.adopt();
    assert_eq!((adopted.responses, adopted.stale), (4, 4));
    let origin = Origin::start().await;
    origin.on("/validated", Reply::status(304, "")).on("/updating", Reply::status(304, ""));
    origin.on("/error", Reply::hang_up()).on("/none", Reply::hang_up());
    let proxy = machine.serve(&origin).await;
    assert_eq!(proxy.line("/validated").await, "200 REVALIDATED /validated");
    assert_eq!(origin.requests("/validated")[0].header("if-none-match"), "\"1\"");
    assert_eq!(proxy.line("/updating").await, "200 STALE /updating");
    assert_eq!(proxy.line("/error").await, "200 STALE /error");
    assert_eq!(proxy.get("/none").await.status, 502);
    proxy.advance_s(60);
    assert_eq!(proxy.get("/error").await.status, 502);
}

#[tokio::test]
async fn who_ordinary_clients_are_is_found_out_for_what_varies() {
    let machine = Machine::new();
    let coding = |said: &str, body: &str| {
        file("/v", body).varying("Accept-Encoding", &format!("accept-encoding:{said}\r\n"))
    };
    machine.write(&coding("gzip,deflate,br", "browser"));
    machine.write(&coding("", "none").secondary());
    machine.write(&coding("own-coding", "own").secondary());
    let cookie = file("/w", "whose").varying("Cookie", "cookie:who=me\r\n");
    machine.write(&cookie);
    let adopted = machine.adopt();
    assert_eq!((adopted.responses, adopted.left_out.no_variant), (2, 2));
    let known = vec![("accept-encoding".parse().unwrap(), "own-coding".parse().unwrap())];
    let wanted = Wanted { tries: Tries { known }, ..Wanted::default() };
    let adopted = machine.try_adopt(&wanted, &mut Named::default()).unwrap();
    let LeftOut { no_variant, known, .. } = adopted.left_out;
    assert_eq!((adopted.responses, no_variant, known), (1, 1, 2));

    let origin = Origin::start().await;
    origin.on("/v", ok("other").header("vary", "Accept-Encoding")).on("/w", ok("asked"));
    let proxy = machine.serve(&origin).await;
    let cases = [
        ("gzip, deflate,br", "200 HIT browser"),
        ("", "200 HIT none"),
        ("own-coding", "200 HIT own"),
        ("gzip", "200 MISS other"),
    ];
    for (said, expected) in cases {
        let found = proxy.send("GET", "/v", &[("accept-encoding", said)]).await;
        assert_eq!(found.line(), expected, "{said}");
    }
    assert_eq!(proxy.line("/v").await, "200 HIT none");
    assert_eq!(proxy.line("/w").await, "200 MISS asked");
    assert_eq!(origin.seen("/v"), 1);
}

#[test]
fn what_is_damaged_or_foreign_is_left_out_and_named() {
    let machine = Machine::new();
    let whole = file("/a", "0123456789");
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 11] = [
        ("it is cut short", |bytes| bytes.truncate(330)),
        ("it is cut short", Vec::clear),
        ("its parts lie outside", |bytes| bytes.truncate(380)),
        ("its parts lie outside", |bytes| bytes[54] = 0),
        ("it has no line for its key", |bytes| bytes[337] = b'k'),
        ("its key is another than its sum", |bytes| bytes[350] ^= 1),
        ("its key is another than its sum", |bytes| bytes[48] ^= 1),
        ("a text in it is too long", |bytes| bytes[187] = 129),
        ("its body has another length than it says", |bytes| bytes.truncate(bytes.len() - 1)),
        ("its body has another length than it says", |bytes| bytes.push(0)),
        ("stored in the future", |bytes| bytes[44] = 1),
    ];
    for (why, damage) in damages {
        let path = machine.write(&whole);
        let mut bytes = whole.bytes();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();
        let mut named = Named::default();
        let adopted = machine.try_adopt(&Wanted::default(), &mut named).unwrap();
        assert_eq!(named.0, [format!("{}: {why}", whole.name())]);
        assert_eq!((adopted.responses, adopted.left_out.damaged), (0, 1), "{why}");
    }
    for head in ["HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 200 OK\r\n\r\n\r\n"] {
        machine.write(&File { head: head.to_owned(), ..whole.clone() });
        assert_eq!(machine.adopt().left_out.damaged, 1, "{head:?}");
    }
    for head in ["\0\0\x04\x01", "Status: 200 OK\r\n\r\n"] {
        machine.write(&File { head: head.to_owned(), ..whole.clone() });
        assert_eq!(machine.adopt().left_out.foreign, 1, "{head:?}");
    }
    // Named by another key, and where nginx would not look.
    let path = machine.path(&whole);
    fs::write(&path, file("/b", "").bytes()).unwrap();
    assert_eq!(machine.adopt().left_out.damaged, 1);
    fs::write(&path, whole.bytes()).unwrap();
    fs::rename(&path, path.with_file_name(file("/b", "").name())).unwrap();
    assert_eq!(machine.adopt().left_out.damaged, 1);
    fs::remove_dir_all(machine.nginx()).unwrap();

    let mut other = whole.bytes();
    other[0] = 6;
    machine.write(&whole);
    fs::write(&path, other).unwrap();
    fs::write(machine.nginx().join("notes.txt"), "mine").unwrap();
    fs::write(machine.nginx().join(format!("{}.0000000001", whole.name())), "half").unwrap();
    let (status, said, problem) = machine.run(&[]);
    assert_eq!(status, 0, "{problem}");
    assert!(problem.contains("notes.txt: no file of nginx's cache"), "{problem}");
    let expected = "adopted 0 responses with 0 B into zone test, 0 of them stale\n\
                    left out 2: no files of nginx's cache\n\
                    left out 1: written or removed by nginx at the moment\n";
    assert_eq!(said, expected);
    fs::write(&path, "x").unwrap();
    let (status, _, problem) = machine.run(&[]);
    assert_eq!(status, 1);
    assert!(problem.contains("it is cut short") && problem.contains("1 damaged"), "{problem}");
}

#[tokio::test]
async fn what_is_there_as_new_stays_and_what_was_purged_stays_out() {
    let machine = Machine::new();
    let first = file("/a", "first");
    machine.write(&first);
    machine.write(&file("/b", "of another"));
    assert_eq!(machine.adopt().responses, 2);
    assert_eq!(machine.adopt().left_out.known, 2);
    let newer = File { date_s: first.date_s + 5, ..file("/a", "newer") };
    machine.write(&newer);
    let adopted = machine.adopt();
    assert_eq!((adopted.responses, adopted.left_out.known), (1, 1));
    machine.write(&first);
    assert_eq!(machine.adopt().left_out.known, 2);

    let origin = Origin::start().await;
    origin.on("/a", ok("asked"));
    let config = format!("{}[admin]\nlisten = \"127.0.0.1:0\"\n", machine.config);
    let proxy = Proxy::with_clock(&config, &origin, machine.clock.clone()).await;
    assert_eq!(proxy.line("/a").await, "200 HIT newer");
    let busy = machine.try_adopt(&Wanted::default(), &mut Named::default()).unwrap_err();
    assert!(busy.to_string().contains("has to be stopped first"), "{busy}");
    let document = r#"{"url": "http://example.com/a"}"#;
    assert_eq!(proxy.admin_post("/v1/purge", document).await.0, 200);
    proxy.stop().await;
    let adopted = machine.adopt();
    assert_eq!((adopted.responses, adopted.left_out.purged, adopted.left_out.known), (0, 1, 1));
}

#[tokio::test]
async fn keys_of_another_template_are_read_back() {
    #[rustfmt::skip]
    let cases = [
        // nginx's, ours, its key, what is asked for
        ("$scheme$proxy_host$request_uri", "$scheme:$request_uri", "http127.0.0.1:9/a?b=c",        "/a?b=c"),
        ("$scheme$host$uri$is_args$args",  "$request_uri",  "httpexample.com/a b?c",           "/a%20b?c"),
        ("$host$request_uri",              "$uri$is_args$args", "example.com/a%3Fb?c=d",       "/a%3fb?c=d"),
        ("$request_method|$request_uri",   "$request_method$uri", "GET|/a?b",                  "/a"),
        ("$host$request_uri",              "$host$uri$arg_Id", "example.com/a?x=1&id=7",       "/a?id=7"),
        ("$http_authorization $uri",       "$http_authorization $uri", "Bearer 1 /a",          "/a"),
        ("$host$request_uri",              "$host$request_uri\"\nquery = { drop = [\"utm_*\"] }#", "example.com/a?utm_x=1&y=2", "/a?y=2"),
    ];
    for (nginxs, ours, key, target) in cases {
        let machine = Machine::with(&format!("key = \"{ours}\"").replace("#\"", ""));
        machine.write(&File::new(key, "200 OK", &[], b"adopted"));
        machine.write(&File::new("of another template", "200 OK", &[], b"other"));
        let wanted = Wanted { key_is: Some(nginxs), ..Wanted::default() };
        let adopted = machine.try_adopt(&wanted, &mut Named::default()).unwrap();
        assert_eq!((adopted.responses, adopted.left_out.no_route), (1, 1), "{key}");
        let origin = Origin::start().await;
        let proxy = machine.serve(&origin).await;
        let found = proxy.send("GET", target, &[("authorization", "Bearer 1")]).await;
        assert_eq!(found.line(), "200 HIT adopted", "{key}");
    }
}

#[tokio::test]
async fn without_a_key_of_its_own_nginx_has_the_uri_that_goes_upstream() {
    let origin = Origin::start().await;
    let mut machine = Machine::with("key = \"http://$proxy_host$request_uri\"");
    let proxy = "path = \"/app/\"\nproxy = \"http://127.0.0.1:9/v2/\"";
    machine.config = machine.config.replace("path = \"/\"\nproxy = \"http://ORIGIN\"", proxy);
    machine.write(&File::new("http://127.0.0.1:9/v2/a?b", "200 OK", &[], b"replaced"));
    machine.write(&File::new("http://127.0.0.1:9/v3/a", "200 OK", &[], b"another"));
    let adopted = machine.adopt();
    assert_eq!((adopted.responses, adopted.left_out.no_route), (1, 1));
    let proxy = machine.serve(&origin).await;
    assert_eq!(proxy.line("/app/a?b").await, "200 HIT replaced");
}

#[tokio::test]
async fn sites_are_told_apart_by_the_host_in_the_key() {
    let mut machine = Machine::new();
    let hosts = |names: &str| format!("[[site]]\nname = [{names}]\n");
    let (first, second) = (hosts("\"a.test\", \"b.test\""), hosts("\"sb.test\""));
    let site = machine.config.find("[[site]]").unwrap();
    let (before, site) = machine.config.split_at(site);
    let stricter = site.replace(
        "semantics = \"nginx\"",
        "semantics = \"nginx\"\nignore_headers = [\"set-cookie\"]",
    );
    let sites = site.replace("[[site]]\n", &first) + &stricter.replace("[[site]]\n", &second);
    machine.config = format!("{before}{sites}").replace("127.0.0.1:0", "127.0.0.1:LISTEN");
    for host in ["a.test", "sb.test", "c.test"] {
        let key = format!("http{host}/x");
        machine.write(&File::new(&key, "200 OK", &["Set-Cookie: a=b"], host.as_bytes()));
        machine.write(&File::new(&format!("http{host}/y"), "200 OK", &[], host.as_bytes()));
    }
    let port = Port::reserve();
    machine.config = machine.config.replace("LISTEN", &port.address.port().to_string());
    let wanted = Wanted { key_is: Some("$scheme$host$request_uri"), ..Wanted::default() };
    let adopted = machine.try_adopt(&wanted, &mut Named::default()).unwrap();
    // The rules are those of the site: only the second one takes cookies. The first one answers for
    // hosts that no site names.
    let refused: Vec<_> = adopted.left_out.refused.into_iter().collect();
    assert_eq!((adopted.responses, refused), (4, vec![("set-cookie", 2)]));
    let origin = Origin::start().await;
    let proxy = machine.serve(&origin).await;
    for host in ["a.test", "sb.test", "c.test"] {
        let text = format!("GET /y HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let found = crate::harness::exchange_raw(proxy.address, text.as_bytes()).await;
        assert_eq!(found.line(), format!("200 HIT {host}"));
    }
}

#[test]
fn what_would_never_be_found_is_said_before_anything_is_done() {
    #[rustfmt::skip]
    let cases = [
        ("", Some("$host$uri"), "nginx's keys do not say what `$request_uri` of `cache.key` is"),
        ("key = \"$host$http_x$uri\"", Some("$host$uri"), "do not say what `$http_x` of"),
        ("partition = [\"$http_x\"]", None, "`cache.partition` gives each client entries of his own"),
        ("", Some("$host$no_such"), "`--key-is`: unknown variable `$no_such`"),
        ("", Some("$slice_range$uri"), "`--key-is`: unknown variable `$slice_range`"),
    ];
    for (lines, key_is, why) in cases {
        let machine = Machine::with(lines);
        machine.write(&file("/a", ""));
        let wanted = Wanted { key_is, ..Wanted::default() };
        let failed = machine.try_adopt(&wanted, &mut Named::default()).unwrap_err().to_string();
        assert!(failed.contains(why), "{failed}");
        assert!(!machine.folder.path().join("zone").exists(), "{why}");
    }
    let mut machine = Machine::new();
    machine.config = machine.config.replace("/zone\"", "/nginx/larder\"");
    fs::create_dir(machine.nginx().join("larder")).unwrap();
    let (status, _, problem) = machine.run(&[]);
    assert_eq!(status, 1);
    assert!(problem.contains("must not be one with nginx's folder"), "{problem}");
}

#[tokio::test]
async fn what_may_not_be_stored_by_our_rules_is_left_out() {
    let machine = Machine::new();
    for (target, field) in [
        ("/a", "Set-Cookie: a=b"),
        ("/b", "Cache-Control: private"),
        ("/c", "Cache-Control: no-cache"),
    ] {
        machine.write(&File::new(&format!("{KEY}{target}"), "200 OK", &[field], b""));
    }
    let refused = machine.adopt().left_out.refused;
    let refused: Vec<_> = refused.into_iter().collect();
    assert_eq!(refused, [("private", 1), ("set-cookie", 1)]);
}

#[test]
fn an_answer_to_head_and_a_key_of_two_meanings_are_left_out() {
    let machine = Machine::with("key = \"$uri|$args\"");
    let head = File { body: Vec::new(), ..File::new("HEAD/a", "200 OK", &[], b"of a GET") };
    machine.write(&head);
    // Where does the path end?
    machine.write(&File::new("GET/abc", "200 OK", &[], b""));
    let wanted = Wanted { key_is: Some("$request_method$uri$args"), ..Wanted::default() };
    let adopted = machine.try_adopt(&wanted, &mut Named::default()).unwrap();
    let LeftOut { damaged, no_route, refused, .. } = adopted.left_out;
    assert_eq!((adopted.responses, damaged, no_route), (0, 0, 2), "{refused:?}");

    let machine = Machine::with("key = \"$request_method$uri\"");
    machine.write(&head);
    machine.write(&File::new("GET/a", "200 OK", &[], b"of a GET"));
    let adopted = machine.adopt();
    let refused: Vec<_> = adopted.left_out.refused.into_iter().collect();
    assert_eq!((adopted.responses, refused), (1, vec![("method", 1)]));
}

#[tokio::test]
async fn slices_of_nginx_are_slices_here() {
    let machine = Machine::with("slice = \"4k\"");
    let body: Vec<u8> = (0..10_000u32).map(|n| (n / 7) as u8).collect();
    let slice = |first: usize, size: usize| {
        let key = format!("{KEY}/abytes={first}-{}", first + size - 1);
        let last = (first + size).min(body.len());
        let field = format!("Content-Range: bytes {first}-{}/{}", last - 1, body.len());
        let fields = [&field[..], "ETag: \"1\""];
        File::new(&key, "206 Partial Content", &fields, &body[first..last])
    };
    for first in [0, 4096, 8192] {
        machine.write(&slice(first, 4096));
    }
    machine.write(&slice(0, 8192));
    machine.write(&File::new(&format!("{KEY}/b"), "206 Partial Content", &[], b""));
    let adopted = machine.adopt();
    assert_eq!((adopted.responses, adopted.left_out.no_route), (3, 2), "{adopted:?}");
    let origin = Origin::start().await;
    let proxy = machine.serve(&origin).await;
    let found = proxy.get("/a").await;
    assert_eq!((found.status, found.cache()), (200, "HIT".into()));
    assert!(found.body == body);
    let range = proxy.send("GET", "/a", &[("range", "bytes=5000-5001")]).await;
    assert_eq!((range.status, range.body), (206, body[5000..5002].to_vec()));
    assert_eq!(origin.seen("/a"), 0);
}
