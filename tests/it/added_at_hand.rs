//! Hits are at hand on routes that add fields and have error pages, too, as long as what these do to a
//! hit is known before it is asked for.

use crate::at_hand::{THE_USUAL_WAY, all, get, same_both_ways, sorted};
use crate::harness::proxy::CACHED;
use crate::harness::{Origin, Proxy, Reply, ok};

/// A cache with an origin that answers with all kinds of statuses, and with a page.
async fn start(route: &str, cache: &str) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let lasting = |reply: Reply| {
        let dated = reply.header("Date", "Mon, 21 Sep 2026 14:13:20 GMT");
        dated.header("Cache-Control", "max-age=60").header("ETag", "\"a\"")
    };
    origin.on("/a", lasting(ok("one")).header("X-Two", "1").header("X-two", "2"));
    origin.on("/end", lasting(ok("the end")));
    origin.on("/page", lasting(ok("the page")));
    origin.on("/301", lasting(Reply::status(301, "").header("Location", "http://x/")));
    for status in [203, 404, 500, 599] {
        origin.on(&format!("/{status}"), lasting(Reply::status(status, "theirs")));
    }
    let config = CACHED.replace("status_header", &format!("{OWN}\n{route}\nstatus_header"));
    let declared = "[map.known]\nkey = '$upstream_cache_status'\nvalues.HIT = 'yes'\n";
    let proxy = Proxy::with(&format!("{declared}{config}{cache}\n"), &origin).await;
    for path in PATHS {
        proxy.get(path).await;
    }
    proxy.advance_s(1);
    (origin, proxy)
}

/// What may have to be changed is not at hand.
const OWN: &str = "proxy_redirect = 'off'";
/// Of which it can be told whether it was at hand.
const NOW: &str = "date = 'now'";

const PATHS: [&str; 8] = ["/end", "/a", "/page", "/301", "/203", "/404", "/500", "/599"];

/// Whether an answer with the `Date` of now was at hand: then that stands behind what is stored, and
/// else in the place of the stored one, which came first. A client has no other way to tell.
pub(crate) fn was_at_hand(answer: &str) -> bool {
    let at = |name: &str| answer.to_ascii_lowercase().find(name).unwrap();
    at("\ndate: ") > at("\ncache-control: ")
}

#[rustfmt::skip]
#[tokio::test]
async fn a_hit_is_at_hand_if_it_is_known_beforehand_what_is_added_to_it() {
    for (route, expected) in [
        ("",                                                                     true),
        ("add_header = { X-A = 'a', X-B = ['b', 'c'], X-None = '' }",            true),
        ("add_header = { X-Cache = '$upstream_cache_status' }",                  true),
        ("add_header = { X-Cache = { value = '<${upstream_cache_status}> by us', always = true } }", true),
        ("add_header = { X-A = 'a', X-B = '$host' }",                            false),
        ("add_header = { X-Cache = '$upstream_cache_status $status' }",          false),
        ("add_header = { X-Cache = '$known' }",                                  false),
        ("add_header = { X-A = 'a' }\nexpires = '1h'",                           false),
        ("error_page = { '404' = '/page' }",                                     true),
        ("error_page = { '404' = '/page' }\nadd_header = { X-A = 'a' }",         true),
        ("intercept_errors = true\nerror_page = { '404' = '/page' }",            true),
    ] {
        let (origin, proxy) = start(&format!("{route}\n{NOW}"), "").await;
        let here = all(&proxy, get("/a", "Connection: close\r\n").as_bytes()).await;
        assert!(here.contains("x-cache-status: HIT"), "{here}");
        assert_eq!(was_at_hand(&here), expected, "{route}: {here}");
        let fields = format!("Connection: close\r\n{THE_USUAL_WAY}");
        let there = all(&proxy, get("/a", &fields).as_bytes()).await;
        assert!(!was_at_hand(&there), "{route}: {there}");
        assert_eq!(sorted(&here), sorted(&there), "{route}");
        assert_eq!(origin.seen("/a"), 1);
    }
}

/// Fields that are stored as well, that are ours, that are hidden, of a body, and of every condition.
const ADDED: &str = "add_header = { X-Two = ['3', '1'], etag = '\"b\"', X-Cache-Status = '[$upstream_cache_status]', \
    Date = 'now', Server = 'we', Age = '7', Content-Type = 'text/odd', Accept-Ranges = 'none', Vary = 'Origin', \
    Cache-Status = 'ours', x-ALWAYS = [{ value = 'a', always = true }, 'b', { value = '$upstream_cache_status', always = true }], \
    X-Empty = { value = '', always = true } }";

#[tokio::test]
async fn what_is_added_to_a_hit_is_the_same_whichever_way_it_comes() {
    let hides = "hide_header = ['X-Two', 'Age', 'Content-Type']";
    let spelled = "header_case = 'preserve'\nserver_header = 'larder'\ndate = 'now'";
    let told = "cache_status = false\nexpires = 'off'\nerror_page = { '500 599' = '/page' }";
    for route in ["", spelled, &format!("{spelled}\n{told}")] {
        for cache in ["", hides, &format!("semantics = 'nginx'\n{hides}")] {
            let (origin, proxy) = start(&format!("{ADDED}\n{route}"), cache).await;
            all_are_the_same(&origin, &proxy).await;
            head_and_get_are_alike(&proxy).await;
        }
    }
}

async fn all_are_the_same(origin: &Origin, proxy: &Proxy) {
    let conditions = ["", "If-None-Match: \"a\"\r\n", "If-None-Match: \"b\"\r\n"];
    for path in PATHS {
        let seen = origin.seen(path);
        for fields in conditions {
            same_both_ways(proxy, path, fields).await;
        }
        assert_eq!(origin.seen(path), seen, "{path} is stored");
    }
}

/// But for the body: one of the two is never at hand.
async fn head_and_get_are_alike(proxy: &Proxy) {
    let close = "Connection: close\r\n";
    for path in PATHS {
        let whole = all(proxy, get(path, close).as_bytes()).await;
        let (head, _) = whole.split_once("\r\n\r\n").unwrap();
        let asked = get(path, close).replacen("GET", "HEAD", 1);
        let asked = all(proxy, asked.as_bytes()).await;
        let has_body = |line: &&str| !line.eq_ignore_ascii_case("content-length: 0");
        let lines = |head: &str| head.lines().filter(has_body).collect::<Vec<_>>().join("\r\n");
        assert_eq!(sorted(&lines(head)), sorted(&lines(asked.trim_end())), "{path}");
    }
}

#[tokio::test]
async fn a_hit_at_hand_has_what_is_added_to_its_status() {
    let (_, proxy) = start(&format!("{ADDED}\n{NOW}"), "").await;
    for (path, condition, expected) in [
        ("/a", "", ["200 OK", "a|b|HIT", "HIT|[HIT]"]),
        ("/a", "If-None-Match: \"a\"\r\n", ["304 Not Modified", "a|b|HIT", "HIT|[HIT]"]),
        ("/301", "", ["301 Moved Permanently", "a|b|HIT", "HIT|[HIT]"]),
        ("/203", "", ["203 Non Authoritative Information", "a|HIT", "HIT"]),
        ("/404", "", ["404 Not Found", "a|HIT", "HIT"]),
    ] {
        let fields = format!("{condition}Connection: close\r\n");
        let answer = all(&proxy, get(path, &fields).as_bytes()).await;
        let of = |name: &str| -> String {
            let lines = answer.lines().filter_map(|line| line.strip_prefix(name));
            lines.collect::<Vec<_>>().join("|")
        };
        assert!(was_at_hand(&answer), "{answer}");
        assert_eq!([of("HTTP/1.1 "), of("x-always: "), of("x-cache-status: ")], expected, "{path}");
        assert!(!answer.contains("x-empty"), "{answer}");
    }
}

#[tokio::test]
async fn only_a_hit_that_an_error_page_replaces_is_not_at_hand() {
    let pages = "date = 'now'\nerror_page = { '404' = '/page', '304 410-599' = { to = '/page', status = 'page' } }";
    for (lines, replaced) in [(pages, false), (&format!("{pages}\nintercept_errors = true"), true)]
    {
        let (origin, proxy) = start(lines, "").await;
        for (path, theirs, page) in [
            ("/a", "200 one", "200 one"),
            ("/203", "203 theirs", "203 theirs"),
            ("/301", "301 ", "301 "),
            ("/404", "404 theirs", "404 the page"),
            ("/500", "500 theirs", "200 the page"),
        ] {
            let answer = all(&proxy, get(path, "Connection: close\r\n").as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let expected = if replaced { page } else { theirs };
            assert_eq!(format!("{} {body}", &head[9..12]), expected, "{path}");
            assert_eq!(was_at_hand(&answer), !replaced || page == theirs, "{path}: {answer}");
            same_both_ways(&proxy, path, "").await;
            assert_eq!(origin.seen(path), 1);
        }
        // What goes out counts, not what is stored.
        let had = same_both_ways(&proxy, "/a", "If-None-Match: \"a\"\r\n").await;
        let expected = if replaced { "HTTP/1.1 200 OK" } else { "HTTP/1.1 304 Not Modified" };
        assert!(had.starts_with(expected) && had.contains("the page") == replaced, "{had}");
    }
}

#[tokio::test]
async fn only_a_hit_with_a_location_that_may_have_to_be_changed_is_not_at_hand() {
    let origin = Origin::start().await;
    let page = ok("page").header("Date", "Mon, 21 Sep 2026 14:13:20 GMT");
    let page = page.header("Cache-Control", "max-age=60");
    // To who looks at a few bits of a name these are like Location and Refresh.
    let alike = page.clone().header("Age", "1").header("Alt-Svc", "clear");
    let alike = alike.header("X-UA-Compatible", "IE=edge");
    origin.on("/alike", alike.header("Cross-Origin-Opener-Policy", "same-origin"));
    let elsewhere = format!("5; url=http://{}/x", origin.address);
    origin.on("/refresh", page.clone().header("Refresh", &elsewhere));
    let config = CACHED.replace("status_header", &format!("{NOW}\nstatus_header"));
    let proxy = Proxy::with(&config, &origin).await;
    for (path, expected) in [("/alike", true), ("/refresh", false)] {
        proxy.get(path).await;
        same_both_ways(&proxy, path, "").await;
        let answer = all(&proxy, get(path, "Connection: close\r\n").as_bytes()).await;
        assert!(answer.contains("x-cache-status: HIT"), "{answer}");
        assert_eq!(was_at_hand(&answer), expected, "{answer}");
        assert_eq!(answer.contains("refresh: 5; url=/x\r\n"), !expected, "{answer}");
        assert_eq!(origin.seen(path), 1);
    }
}
