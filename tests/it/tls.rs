//! TLS from clients: names, versions, sessions, certificates of both sides, and what changes while
//! it runs.

use std::time::Duration;

use larder::clock::Clock;
use larder::config::load;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::tls::{Authority, Client, Wanted, write};
use crate::harness::{Gate, Origin, Proxy, client, eventually, ok};

/// An origin, an authority, and a folder for certificates.
struct Stage {
    origin: Origin,
    authority: Authority,
    folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let origin = Origin::start().await;
        origin.on("/a", ok("one").header("cache-control", "max-age=100"));
        let folder = tempfile::tempdir().unwrap();
        Self { origin, authority: Authority::new("Test CA"), folder }
    }

    /// Files of a certificate for these names, under the first one.
    fn server(&self, names: &[&str]) -> String {
        self.authority.server(names).write(self.folder.path(), names[0])
    }

    fn file(&self, name: &str, text: &str) -> String {
        write(self.folder.path(), name, text)
    }

    async fn proxy(&self, config: &str) -> Proxy {
        Proxy::with(config, &self.origin).await
    }

    fn client(&self) -> Client {
        Client::new(&self.authority)
    }
}

/// A site for this `name`, which answers with it in a field, and its keys.
fn site(name: &str, tls: &str, keys: &str) -> String {
    format!(
        "[[site]]\nlisten = '127.0.0.1:0'\nname = '{name}'\ntls = {tls}\n{keys}\n\
         [[site.route]]\npath = '/'\nproxy = 'http://ORIGIN'\n\
         set_header = {{ X-Site = '$server_name', X-Ssl = '{SSL}', X-Client = '{CLIENT}' }}\n"
    )
}

const SSL: &str = "$scheme $https $ssl_protocol $ssl_cipher $ssl_server_name $ssl_session_reused";
const CLIENT: &str = "$ssl_client_verify|$ssl_client_s_dn|$ssl_client_i_dn|$ssl_client_serial";

/// What the origin saw last in a field.
fn seen(stage: &Stage, field: &str) -> String {
    stage.origin.requests("/a").last().unwrap().header(field)
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate_and_the_site() {
    let stage = Stage::new().await;
    let config = [
        site("example.com", &format!("{{ {} }}", stage.server(&["example.com"])), ""),
        site("*.example.com", &format!("{{ {} }}", stage.server(&["*.example.com"])), ""),
        site("*.b.example.com", &format!("{{ {} }}", stage.server(&["*.b.example.com"])), ""),
    ];
    let proxy = stage.proxy(&config.concat()).await;
    for (name, site) in [
        ("example.com", "example.com"),
        ("a.example.com", "*.example.com"),
        ("x.b.example.com", "*.b.example.com"),
    ] {
        let client = stage.client().asking(name);
        assert_eq!(client.line(proxy.address, "/a").await, "200 one", "{name}");
        assert_eq!(seen(&stage, "x-site"), site);
    }
    // A name that no site has gets the certificate of the default site, which is not for it.
    let other = stage.client().asking("other.test");
    assert_eq!(other.line(proxy.address, "/a").await, "refused");
    let nobody = stage.client().changed(|config| config.enable_sni = false);
    assert_eq!(nobody.line(proxy.address, "/a").await, "200 one", "the default site's");
}

#[tokio::test]
async fn a_strict_default_site_refuses_handshakes_for_names_that_nobody_has() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com", "other.test"]);
    let config = site("example.com", &format!("{{ {files} }}"), "strict = true");
    let proxy = stage.proxy(&config).await;
    assert_eq!(stage.client().line(proxy.address, "/a").await, "200 one");
    let other = stage.client().asking("other.test").get(proxy.address, "/a").await.unwrap_err();
    assert!(other.to_string().contains("UnrecognisedName"), "{other}");
    eventually("it is counted", async || proxy.stats().await["tls"]["failed"] == 1).await;
    assert_eq!(proxy.stats().await["tls"]["handshakes"], 1);
}

#[tokio::test]
async fn both_versions_are_spoken_unless_the_site_says_otherwise() {
    let stage = Stage::new().await;
    let new = format!("{{ {}, protocols = 'TLSv1.3' }}", stage.server(&["new.test"]));
    let old = format!("{{ {}, protocols = ['TLSv1.2'] }}", stage.server(&["old.test"]));
    let config = [
        site("example.com", &format!("{{ {} }}", stage.server(&["example.com"])), ""),
        site("new.test", &new, ""),
        site("old.test", &old, ""),
    ];
    let proxy = stage.proxy(&config.concat()).await;
    let twelve = Client::with(&stage.authority, &[&TLS12], None);
    let thirteen = Client::with(&stage.authority, &[&TLS13], None);
    #[rustfmt::skip]
    let cases = [
        (&twelve,   "example.com", "https on TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 example.com ."),
        (&thirteen, "example.com", "https on TLSv1.3 TLS_AES_256_GCM_SHA384 example.com ."),
        (&twelve,   "new.test",    "refused"),
        (&thirteen, "new.test",    "https on TLSv1.3 TLS_AES_256_GCM_SHA384 new.test ."),
        (&twelve,   "old.test",    "https on TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 old.test ."),
        (&thirteen, "old.test",    "refused"),
    ];
    for (client, name, expected) in cases {
        let line = client.asking(name).line(proxy.address, "/a").await;
        let saw = if line == "refused" { line } else { seen(&stage, "x-ssl") };
        assert_eq!(saw, expected);
    }
}

#[tokio::test]
async fn a_client_gets_the_certificate_whose_signatures_it_can_check() {
    let stage = Stage::new().await;
    let rsa = stage.authority.issue(Wanted { rsa: true, ..Wanted::default() });
    let ecdsa = stage.authority.issue(Wanted::default());
    let files = [ecdsa.write(stage.folder.path(), "ecdsa"), rsa.write(stage.folder.path(), "rsa")];
    let config = site("example.com", &format!("[{{ {} }}, {{ {} }}]", files[0], files[1]), "");
    let proxy = stage.proxy(&config).await;
    for (suite, cipher) in [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ] {
        let client = stage.authority.speaking(suite);
        assert_eq!(client.line(proxy.address, "/a").await, "200 one");
        assert!(seen(&stage, "x-ssl").contains(cipher), "{}", seen(&stage, "x-ssl"));
    }
}

#[tokio::test]
async fn sessions_are_resumed_with_tickets_and_without() {
    let stage = Stage::new().await;
    let without = format!("{{ {}, session_tickets = false }}", stage.server(&["without.test"]));
    let config = [
        site("example.com", &format!("{{ {} }}", stage.server(&["example.com"])), ""),
        site("without.test", &without, ""),
    ];
    let proxy = stage.proxy(&config.concat()).await;
    for versions in [&TLS12, &TLS13] {
        for name in ["example.com", "without.test"] {
            let client = Client::with(&stage.authority, &[versions], None).asking(name);
            for expected in [".", "r", "r"] {
                // The tickets of TLS 1.3 come behind the handshake: an answer is behind them.
                assert_eq!(client.line(proxy.address, "/a").await, "200 one");
                assert!(seen(&stage, "x-ssl").ends_with(expected), "{versions:?} {name}");
            }
        }
    }
    let stats = proxy.stats().await;
    assert_eq!((&stats["tls"]["handshakes"], &stats["tls"]["resumed"]), (&12.into(), &8.into()));
}

#[tokio::test]
async fn clients_show_certificates_where_they_must_or_may() {
    let stage = Stage::new().await;
    let ca = stage.file("ca.crt", &stage.authority.pem());
    let tls = |name, mode| {
        let files = stage.server(&[name]);
        format!("{{ {files}, client_ca = {ca}, verify_client = '{mode}' }}")
    };
    let config = [
        site("on.test", &tls("on.test", "on"), ""),
        site("optional.test", &tls("optional.test", "optional"), ""),
        site("any.test", &tls("any.test", "optional_no_ca"), ""),
        site("off.test", &format!("{{ {} }}", stage.server(&["off.test"])), ""),
    ];
    let proxy = stage.proxy(&config.concat()).await;
    let other = Authority::new("Other CA");
    let old = stage.authority.issue(Wanted {
        names: &["old"],
        client: true,
        until: 2021,
        ..Wanted::default()
    });
    let with = |pair| Client::showing(&stage.authority, &pair);
    let (none, good) = (stage.client(), with(stage.authority.client("me")));
    let (foreign, expired) = (with(other.client("me")), with(old));
    const NO: &str = "400 400 Bad Request: No required SSL certificate was sent\n";
    const BAD: &str = "400 400 Bad Request: The SSL certificate error\n";
    let me = "CN=me,O=Larder\\, Ltd|CN=Test CA|0ABC";
    let success = format!("SUCCESS|{me}");
    let failed =
        "FAILED:unable to verify the first certificate|CN=me,O=Larder\\, Ltd|CN=Other CA|0ABC";
    #[rustfmt::skip]
    let cases = [
        (&none,    "on.test",       NO),
        (&good,    "on.test",       success.as_str()),
        (&foreign, "on.test",       BAD),
        (&expired, "on.test",       BAD),
        (&none,    "optional.test", "NONE|||"),
        (&good,    "optional.test", success.as_str()),
        (&foreign, "optional.test", BAD),
        (&none,    "any.test",      "NONE|||"),
        (&good,    "any.test",      success.as_str()),
        (&foreign, "any.test",      failed),
        (&expired, "any.test",      BAD),
        (&good,    "off.test",      "NONE|||"),
    ];
    for (number, (client, name, expected)) in cases.into_iter().enumerate() {
        let client = client.asking(name);
        // A resumed session is worth no more than the first was.
        for _ in 0..2 {
            let line = client.line(proxy.address, "/a").await;
            let saw = if line == "200 one" { seen(&stage, "x-client") } else { line };
            assert_eq!(saw, expected, "case {number}");
        }
    }
}

#[tokio::test]
async fn the_fingerprint_is_what_openssl_says() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let stage = Stage::new().await;
    let ca = stage.file("ca.crt", &stage.authority.pem());
    let files = stage.server(&["example.com"]);
    let tls = format!("{{ {files}, client_ca = {ca}, verify_client = 'on' }}");
    let config = site("example.com", &tls, "").replace(CLIENT, "$ssl_client_fingerprint");
    let proxy = stage.proxy(&config).await;
    let pair = stage.authority.client("me");
    let line = Client::showing(&stage.authority, &pair).line(proxy.address, "/a").await;
    assert_eq!(line, "200 one");
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let digest = <sha1::Sha1 as sha1::Digest>::digest(&der);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(seen(&stage, "x-client"), hex);
}

#[tokio::test]
async fn what_a_handshake_agreed_on_is_known() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let known = "$ssl_alpn_protocol|$ssl_curve|$ssl_early_data|$http2|$http3|$connection";
    let config = site("example.com", &format!("{{ {files} }}"), "").replace(CLIENT, known);
    let proxy = stage.proxy(&config).await;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        assert_eq!(stage.client().line(proxy.address, "/a").await, "200 one");
        let seen = seen(&stage, "x-client");
        let (known, number) = seen.rsplit_once('|').unwrap();
        assert!(known.contains("|X25519") && known.ends_with("|||"), "{seen}");
        numbers.push(number.parse::<u64>().unwrap());
    }
    assert!(numbers[0] < numbers[1], "{numbers:?}");
}

#[tokio::test]
async fn an_isolated_site_answers_only_over_connections_made_for_it() {
    let stage = Stage::new().await;
    let ca = stage.file("ca.crt", &stage.authority.pem());
    let names = ["open.test", "too.test", "alone.test", "mine.test"];
    let files = stage.server(&names);
    let mine = format!("{{ {files}, client_ca = {ca}, verify_client = 'optional' }}");
    let plain = format!("{{ {files} }}");
    let config = [
        site("open.test", &plain, ""),
        site("too.test", &plain, ""),
        site("alone.test", &plain, "isolated = true"),
        site("mine.test", &mine, ""),
    ];
    let proxy = stage.proxy(&config.concat()).await;
    #[rustfmt::skip]
    let cases = [
        //  made for      asks for      status
        ("open.test",  "open.test",  200),
        ("open.test",  "too.test",   200),
        ("open.test",  "alone.test", 421),
        ("open.test",  "mine.test",  421),
        ("alone.test", "alone.test", 200),
        ("alone.test", "open.test",  421),
        ("alone.test", "mine.test",  421),
        ("mine.test",  "mine.test",  200),
        ("mine.test",  "open.test",  421),
    ];
    for (name, host, expected) in cases {
        let mut talk = stage.client().asking(name).connect(proxy.address).await.unwrap();
        let status = talk.get(host, "/a").await.unwrap().status;
        assert_eq!(status, expected, "a connection for {name}, a request for {host}");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_while_requests_run_and_while_a_connection_stays_open() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let poll = "[server]\ncertificate_poll = '20ms'\n";
    let config = format!("{poll}{}", site("example.com", &format!("{{ {files} }}"), ""));
    let proxy = stage.proxy(&config).await;
    let gate = Gate::closed();
    stage.origin.on("/slow", ok("slow").body_behind(&gate));
    let client = stage.client().changed(|config| {
        config.resumption = rustls::client::Resumption::disabled();
    });
    let mut open = client.connect(proxy.address).await.unwrap();
    assert_eq!(open.get("example.com", "/a").await.unwrap().status, 200);
    let before = open.certificate();
    let (slow, to) = (client.clone(), proxy.address);
    let slow = tokio::spawn(async move { slow.get(to, "/slow").await });
    eventually("the request is under way", async || stage.origin.seen("/slow") == 1).await;

    stage.server(&["example.com"]);
    eventually("the new certificate is shown", async || {
        client.connect(proxy.address).await.unwrap().certificate() != before
    })
    .await;
    assert_eq!(open.get("example.com", "/a").await.unwrap().status, 200, "the same connection");
    gate.open();
    assert_eq!(slow.await.unwrap().unwrap().text(), "slow");
}

#[tokio::test]
async fn a_broken_certificate_in_the_place_of_a_good_one_is_counted_and_not_used() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let poll = "[server]\ncertificate_poll = '20ms'\n";
    let config = format!("{poll}{}", site("example.com", &format!("{{ {files} }}"), ""));
    let proxy = stage.proxy(&config).await;
    let before = stage.client().connect(proxy.address).await.unwrap().certificate();
    let errors = async || proxy.stats().await["tls"]["certificate_errors"].as_u64().unwrap();
    let good = stage.authority.server(&["example.com"]);
    // A certificate without its key, as it is between two files of a renewal.
    stage.file("example.com.crt", &good.certificate);
    eventually("the change is seen", async || errors().await == 1).await;
    assert_eq!(stage.client().connect(proxy.address).await.unwrap().certificate(), before);
    let problems = proxy.reload_certificates();
    assert!(problems[0].contains("is not the key to"), "{problems:?}");
    assert_eq!(errors().await, 2);
    stage.file("example.com.key", &good.key);
    eventually("the whole is taken", async || {
        stage.client().connect(proxy.address).await.unwrap().certificate() != before
    })
    .await;
    assert_eq!(errors().await, 2);
    assert!(proxy.reload_certificates().is_empty());
}

#[tokio::test]
async fn plain_http_on_a_port_of_tls_is_told_so() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let proxy = stage.proxy(&site("example.com", &format!("{{ {files} }}"), "")).await;
    let answer = client::request(proxy.address, "GET", "/a", &[]).await;
    let expected = "400 Bad Request: The plain HTTP request was sent to HTTPS port\n";
    assert_eq!((answer.status, answer.text().as_str()), (400, expected));
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(stage.origin.seen("/a"), 0);
    // What is neither gets no answer of HTTP.
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x00\x05hello").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(stage.client().line(proxy.address, "/a").await, "200 one");
}

#[tokio::test]
async fn who_comes_in_the_wrong_way_gets_a_page_of_the_site() {
    let stage = Stage::new().await;
    let ca = stage.file("ca.crt", &stage.authority.pem());
    let files = stage.server(&["example.com"]);
    let tls = format!("{{ {files}, client_ca = {ca}, verify_client = 'on' }}");
    let pages = "defaults.error_page = { 497 = 'https://$host$request_uri', 496 = '/none', 495 = { to = '/bad', status = 403 }, 400 = '/never' }";
    let routes = ["none", "bad", "never"].map(|page| {
        format!(
            "[[site.route]]\npath = '= /{page}'\nrespond = {{ status = 200, body = '{page}' }}\n"
        )
    });
    let config = format!("{}{}", site("example.com", &tls, pages), routes.concat());
    let proxy = stage.proxy(&config).await;
    let host = [("Host", "example.com:8443")];
    let answer = client::request(proxy.address, "GET", "/a?b=c", &host).await;
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), "https://example.com/a?b=c");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(client::request(proxy.address, "HEAD", "/a", &host).await.status, 302);
    let other = Authority::new("Other CA").client("me");
    let foreign = Client::showing(&stage.authority, &other);
    for (client, expected) in [
        (stage.client(), "400 none"),
        (foreign, "403 bad"),
        (Client::showing(&stage.authority, &stage.authority.client("me")), "200 one"),
    ] {
        assert_eq!(client.line(proxy.address, "/a").await, expected);
    }
    assert_eq!(stage.origin.seen("/a"), 1);
    // A page of the site is its own, and not a way in.
    let page = pages.replace("'https://$host$request_uri'", "'/plain'");
    let plain = "[[site.route]]\npath = '= /plain'\nrespond = { status = 200, body = 'use TLS' }\n";
    let proxy = stage.proxy(&format!("{}{plain}", site("example.com", &tls, &page))).await;
    let answer = client::request(proxy.address, "GET", "/a", &host).await;
    assert_eq!((answer.status, answer.text().as_str()), (400, "use TLS"));
}

#[tokio::test]
async fn one_site_listens_with_and_without_tls() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let listen = "['127.0.0.1:0', { address = '127.0.0.2:0', tls = true }]";
    let config = site("example.com", &format!("{{ {files} }}"), "");
    let config = config.replace("listen = '127.0.0.1:0'", &format!("listen = {listen}"));
    let proxy = stage.proxy(&config).await;
    let answer = client::request(proxy.listeners[0], "GET", "/a", &[]).await;
    assert_eq!((answer.status, seen(&stage, "x-ssl").as_str()), (200, "http"));
    assert_eq!(stage.client().line(proxy.listeners[1], "/a").await, "200 one");
    assert!(seen(&stage, "x-ssl").starts_with("https on TLSv1.3"));
    let plain = client::request(proxy.listeners[1], "GET", "/a", &[]).await;
    assert_eq!(plain.status, 400);
}

#[tokio::test]
async fn who_must_show_a_certificate_need_not_where_there_is_no_tls() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let ca = stage.file("ca.pem", &stage.authority.pem());
    let tls = format!("{{ {files}, verify_client = 'on', client_ca = {ca} }}");
    let listen = "['127.0.0.1:0', { address = '127.0.0.2:0', tls = true }]";
    let config = site("example.com", &tls, "");
    let config = config.replace("listen = '127.0.0.1:0'", &format!("listen = {listen}"));
    let proxy = stage.proxy(&config).await;
    let answer = client::request(proxy.listeners[0], "GET", "/a", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(stage.client().line(proxy.listeners[1], "/a").await.starts_with("400 "));
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off_and_holds_its_connection_meanwhile() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let limits = "[server]\nworkers = 1\nheader_timeout = '1s'\nconnections = 1\n";
    let config = format!("{limits}{}", site("example.com", &format!("{{ {files} }}"), ""));
    let proxy = stage.proxy(&config).await;
    for beginning in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let began = Clock::default().instant();
        let mut slow = TcpStream::connect(proxy.address).await.unwrap();
        slow.write_all(beginning).await.unwrap();
        // The only connection there is: this one waits for the end of that one.
        assert_eq!(stage.client().line(proxy.address, "/a").await, "200 one");
        let waited = Clock::default().instant().duration_since(began);
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }
    eventually("all are counted", async || proxy.stats().await["tls"]["failed"] == 3).await;
}

#[tokio::test]
async fn large_bodies_go_both_ways_and_the_connection_is_kept() {
    let stage = Stage::new().await;
    let large: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    stage.origin.on("/large", ok("").bytes(large.clone()));
    stage.origin.on("/chunked", ok("").bytes(large.clone()).chunked());
    stage.origin.on("/up", ok("taken"));
    let files = stage.server(&["example.com"]);
    let config = site("example.com", &format!("{{ {files} }}"), "defaults.max_body = '10m'");
    let proxy = stage.proxy(&config).await;
    let mut talk = stage.client().connect(proxy.address).await.unwrap();
    for _ in 0..2 {
        assert!(talk.get("example.com", "/large").await.unwrap().body == large);
        assert!(talk.get("example.com", "/chunked").await.unwrap().body == large);
        let body = "0123456789".repeat(200_000);
        let post = format!(
            "POST /up HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(talk.send(&post).await.unwrap().text(), "taken");
        assert_eq!(stage.origin.requests("/up").last().unwrap().body, body.as_bytes());
    }
    assert_eq!(proxy.stats().await["tls"]["handshakes"], 1);
}

#[tokio::test]
async fn stored_bodies_are_not_sent_past_the_encryption() {
    let stage = Stage::new().await;
    let large: Vec<u8> = (0..500_000u32).map(|at| (at % 251) as u8).collect();
    stage.origin.on("/large", ok("").bytes(large.clone()).header("cache-control", "max-age=99"));
    let files = stage.server(&["example.com"]);
    let zone = format!("[zone.z]\nmemory = 0\npath = '{}/z'\n", stage.folder.path().display());
    let site = site("example.com", &format!("{{ {files} }}"), "defaults.cache.zone = 'z'");
    let proxy = stage.proxy(&format!("[server]\nsendfile = true\n{zone}{site}")).await;
    for number in 0..4 {
        let mut talk = stage.client().connect(proxy.address).await.unwrap();
        assert!(talk.get("example.com", "/large").await.unwrap().body == large, "{number}");
        proxy.flush().await;
    }
    assert_eq!(stage.origin.seen("/large"), 1);
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_and_a_cut_is_none() {
    let stage = Stage::new().await;
    stage
        .origin
        .on("/whole", ok("whole").header("content-length", "5").header("connection", "close"));
    stage.origin.on("/cut", ok("0123456789").chunked().cut_after(4));
    let files = stage.server(&["example.com"]);
    let proxy = stage.proxy(&site("example.com", &format!("{{ {files} }}"), "")).await;
    let read = async |head: &str| {
        let mut talk = stage.client().connect(proxy.address).await.unwrap();
        talk.stream.write_all(head.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        talk.stream.read_to_end(&mut all).await
    };
    let host = "Host: example.com\r\nConnection: close\r\n\r\n";
    assert!(read(&format!("GET /whole HTTP/1.1\r\n{host}")).await.is_ok(), "close_notify");
    // To HTTP/1.0 the end of the connection is the end of the body.
    assert!(read(&format!("GET /cut HTTP/1.0\r\n{host}")).await.is_err(), "none");
}

#[tokio::test]
async fn http_and_https_are_stored_and_purged_apart() {
    let stage = Stage::new().await;
    let files = stage.server(&["example.com"]);
    let cached = "defaults.cache.zone = 'z'\ndefaults.status_header = 'X-Cache-Status'";
    let https = site("example.com", &format!("{{ {files} }}"), cached);
    let http = site("example.com", "", cached).replace("tls = \n", "").replace("0.1:0", "0.2:0");
    let proxy = stage.proxy(&format!("[zone.z]\n{https}{http}")).await;
    let over_tls = async || {
        let response = stage.client().get(proxy.listeners[0], "/a").await.unwrap();
        response.cache()
    };
    let plain = async || client::request(proxy.listeners[1], "GET", "/a", &[]).await.cache();
    assert_eq!((over_tls().await, plain().await), ("MISS".into(), "MISS".into()));
    assert_eq!((over_tls().await, plain().await), ("HIT".into(), "HIT".into()));
    let (_, told) = proxy.admin_post("/v1/explain", r#"{"url":"https://example.com/a"}"#).await;
    assert_eq!(told["cache"]["key"], "https://example.com/a", "{told}");
    let (_, told) = proxy.admin_post("/v1/purge", r#"{"url":"https://example.com/a"}"#).await;
    assert_eq!(told["purged"], 1, "{told}");
    assert_eq!((over_tls().await, plain().await), ("MISS".into(), "HIT".into()));
    let (_, told) = proxy.admin_post("/v1/purge", r#"{"prefix":"http://example.com/"}"#).await;
    assert_eq!(told["scope"], "prefix", "{told}");
    assert_eq!((over_tls().await, plain().await), ("HIT".into(), "MISS".into()));
}

#[tokio::test]
async fn what_an_unsafe_method_makes_out_of_date_is_that_of_its_scheme() {
    let stage = Stage::new().await;
    let location = ok("done").header("content-location", "https://example.com/a");
    stage.origin.on("/change", location);
    let files = stage.server(&["example.com"]);
    let cached = "defaults.cache.zone = 'z'\ndefaults.status_header = 'X-Cache-Status'";
    let config = site("example.com", &format!("{{ {files} }}"), cached);
    let proxy = stage.proxy(&format!("[zone.z]\n{config}")).await;
    let mut talk = stage.client().connect(proxy.address).await.unwrap();
    for expected in ["MISS", "HIT"] {
        assert_eq!(talk.get("example.com", "/a").await.unwrap().cache(), expected);
    }
    let post = "POST /change HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(talk.send(post).await.unwrap().status, 200);
    assert_eq!(talk.get("example.com", "/a").await.unwrap().cache(), "MISS");
}

#[tokio::test]
async fn a_reload_keeps_sessions_and_takes_what_sites_ask_for_now() {
    let stage = Stage::new().await;
    let ca = stage.file("ca.crt", &stage.authority.pem());
    let files = stage.server(&["example.com"]);
    let open = site("example.com", &format!("{{ {files} }}"), "");
    let proxy = stage.proxy(&open).await;
    let client = stage.client();
    let mut kept = client.connect(proxy.address).await.unwrap();
    assert_eq!(kept.get("example.com", "/a").await.unwrap().status, 200);
    stage.server(&["example.com"]);
    proxy.reload(&open, &stage.origin).await.unwrap();
    assert_eq!(client.line(proxy.address, "/a").await, "200 one");
    assert!(seen(&stage, "x-ssl").ends_with(" r"), "resumed: {}", seen(&stage, "x-ssl"));

    let tls = format!("{{ {files}, client_ca = {ca}, verify_client = 'on' }}");
    proxy.reload(&site("example.com", &tls, ""), &stage.origin).await.unwrap();
    let asked = kept.get("example.com", "/a").await.unwrap();
    assert_eq!(asked.status, 400, "a connection from before has shown nothing");
    let me = Client::showing(&stage.authority, &stage.authority.client("me"));
    assert_eq!(me.line(proxy.address, "/a").await, "200 one");
}

#[tokio::test]
async fn what_is_dangerous_is_a_warning_of_check() {
    let stage = Stage::new().await;
    let old = stage.authority.issue(Wanted { until: 2021, ..Wanted::default() });
    let files = old.write(stage.folder.path(), "old");
    let config = site("example.com", &format!("{{ {files} }}"), "")
        .replace("'http://ORIGIN'", "'https://a.test'\nupstream_tls.verify = false");
    let loaded = load::parse(&config, "t.toml").unwrap_or_else(|faults| panic!("{faults}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(|fault| fault.reason.as_str()).collect();
    let path = stage.folder.path().join("old.crt");
    let expired = format!("the certificate `{}` has expired", path.display());
    assert_eq!(warnings, [expired.as_str(), "whoever answers in the upstream's place is believed"]);
}
