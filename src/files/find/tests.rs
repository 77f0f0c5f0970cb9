//! What is found below a root, and that nothing else is, whoever asks: a worker, which must not
//! wait, or a job.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::config::load::parse;
use crate::config::{PathMatch, Static};

/// A folder `www` with some files, beside a secret.
fn stage() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["www", "www/sub", "www/sub/deep", "www/.git", "www/.well-known", "other"] {
        fs::create_dir(at(name)).unwrap();
    }
    for name in [
        "secret",
        "other/secret",
        "www/a.html",
        "www/index.html",
        "www/sub/b",
        "www/.env",
        "www/.git/config",
        "www/.well-known/x",
        "www/a b%2e",
        "www/..x",
        "www/back\\slash",
    ] {
        fs::write(at(name), name).unwrap();
    }
    symlink("sub/b", at("www/inside")).unwrap();
    symlink("sub", at("www/folder-inside")).unwrap();
    symlink("../secret", at("www/out")).unwrap();
    symlink(at("secret"), at("www/absolute")).unwrap();
    symlink("../other", at("www/folder-out")).unwrap();
    symlink("round", at("www/round")).unwrap();
    symlink("nowhere", at("www/dangling")).unwrap();
    mknodat(CWD, at("www/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("www/socket")).unwrap());
    folder
}

/// The settings of a route with these lines in its table; `ROOT` is the folder.
fn settings(folder: &Path, lines: &str) -> Static {
    let lines = lines.replace("ROOT", folder.to_str().unwrap());
    let text = format!("[[site]]\n[[site.route]]\npath = \"/\"\n[site.route.static]\n{lines}\n");
    let loaded = parse(&text, "t.toml").unwrap_or_else(|faults| panic!("{faults}"));
    loaded.config.sites[0].routes[0].action.files().unwrap().clone()
}

fn files(folder: &Path, lines: &str) -> Arc<Files> {
    Files::new(&settings(folder, lines), &PathMatch::Prefix("/".into())).unwrap()
}

fn asked(path: &str, wanted: Wanted) -> Asked {
    Asked {
        paths: vec![(path.to_owned(), wanted)],
        place: None,
        accepted: Accepted::of(&HeaderMap::new()),
    }
}

/// What is found, in a word: the text of a file, or what else it is. A worker and a job agree.
#[track_caller]
fn found(files: &Files, path: &str, wanted: Wanted) -> String {
    let look = |may_wait| match files.look(&asked(path, wanted), may_wait) {
        Err(Cold) => None,
        Ok(Err(error)) => panic!("{path}: {error}"),
        Ok(Ok(found)) => Some(match found {
            Found::File(found) => std::io::read_to_string(&found.file.file).unwrap(),
            Found::WithoutSlash(path) => format!("-> {path}"),
            Found::Folder(_, path) => format!("in {path}"),
            Found::Refused => "refused".to_owned(),
            Found::Nothing => "-".to_owned(),
        }),
    };
    let by_job = look(true).expect("a job may wait");
    if let Some(by_worker) = look(false) {
        assert_eq!(by_worker, by_job, "{path}");
    }
    by_job
}

#[rustfmt::skip]
#[test]
fn nothing_but_plain_files_below_the_root_is_found() {
    let folder = stage();
    let at_root = files(folder.path(), "root = \"ROOT/www\"");
    let check = |path: &str, expected: &str| assert_eq!(found(&at_root, path, Wanted::Any), expected, "{path}");
    check("/a.html",               "www/a.html");
    check("/",                     "www/index.html");
    check("/sub",                  "-> /sub/");
    check("/sub/",                 "in /sub/");
    check("/sub/b",                "www/sub/b");
    check("/sub/b/",               "-");
    check("/a b%2e",               "www/a b%2e");
    check("/back\\slash",          "www/back\\slash");
    check("/none",                 "-");
    check("/none/",                "-");
    check("/a.html/x",             "-");
    // Out of the root.
    check("/../secret",            "-");
    check("/sub/../../secret",     "-");
    check("/..\\secret",           "-");
    check("/%2e%2e/secret",        "-");
    check("/./a.html",             "-");
    check("/..",                   "-");
    check("//secret",              "-");
    check("/\0",                   "-");
    check("/a.html\0.png",         "-");
    // Hidden names.
    check("/.env",                 "-");
    check("/..x",                  "-");
    check("/.git/config",          "-");
    check("/.git/",                "-");
    check("/.well-known/x",        "www/.well-known/x");
    // Links.
    check("/inside",               "www/sub/b");
    check("/folder-inside/b",      "www/sub/b");
    check("/out",                  "-");
    check("/absolute",             "-");
    check("/folder-out/secret",    "-");
    check("/folder-out",           "-");
    check("/folder-out/",          "-");
    check("/round",                "-");
    check("/dangling",             "-");
    // What is no file.
    check("/pipe",                 "-");
    check("/socket",               "-");
    check(&format!("/{}", "x".repeat(300)), "-");
    check(&format!("/{}", "x/".repeat(3000)), "-");
}

#[test]
fn devices_are_not_served() {
    let device = files(Path::new("/"), "root = \"/dev\"");
    for path in ["/null", "/zero", "/tty", "/full"] {
        assert_eq!(found(&device, path, Wanted::Any), "-", "{path}");
    }
    let kernel = files(Path::new("/"), "root = \"/proc/self\"\nsymlinks = \"on\"");
    for path in ["/root/etc/passwd", "/fd/0", "/exe"] {
        assert_eq!(found(&kernel, path, Wanted::Any), "-", "links that the kernel makes: {path}");
    }
}

#[rustfmt::skip]
#[test]
fn links_are_followed_as_far_as_the_operator_says() {
    let folder = stage();
    let path = folder.path();
    let with = |symlinks: &str| files(path, &format!("root = \"ROOT/www\"\nsymlinks = \"{symlinks}\""));
    let (off, on) = (with("off"), with("on"));
    for (name, when_on) in [
        ("/inside", "www/sub/b"), ("/folder-inside/b", "www/sub/b"), ("/out", "secret"),
        ("/absolute", "secret"), ("/folder-out/secret", "other/secret"),
    ] {
        assert_eq!(found(&off, name, Wanted::Any), "-", "{name}");
        assert_eq!(found(&on, name, Wanted::Any), when_on, "{name}");
    }
    assert_eq!(found(&on, "/../secret", Wanted::Any), "-", "links are not dots");
    let dots = files(path, "root = \"ROOT/www\"\ndot_files = true");
    assert_eq!(found(&dots, "/.env", Wanted::Any), "www/.env");
    assert_eq!(found(&dots, "/../secret", Wanted::Any), "-");
}

#[test]
fn the_root_may_be_a_link_that_leads_elsewhere_later() {
    let folder = stage();
    let current = folder.path().join("current");
    symlink("www", &current).unwrap();
    let files = files(folder.path(), "root = \"ROOT/current\"");
    assert_eq!(found(&files, "/a.html", Wanted::Any), "www/a.html");
    let next = folder.path().join("next");
    symlink("other", &next).unwrap();
    fs::rename(&next, &current).unwrap();
    assert_eq!(found(&files, "/a.html", Wanted::Any), "-");
    assert_eq!(found(&files, "/secret", Wanted::Any), "other/secret");
    fs::remove_file(&current).unwrap();
    assert_eq!(found(&files, "/secret", Wanted::Any), "-", "no root at all");
}

#[test]
fn a_name_that_becomes_a_link_out_is_never_followed() {
    let folder = stage();
    let www = folder.path().join("www");
    fs::create_dir(www.join("swap")).unwrap();
    fs::write(www.join("swap/secret"), "public").unwrap();
    symlink("../other", www.join("evil")).unwrap();
    let files = files(folder.path(), "root = \"ROOT/www\"");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The folder and the link change places, again and again.
            while !is_over.load(Ordering::Relaxed) {
                let (one, other) = (www.join("swap"), www.join("evil"));
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &one, CWD, &other, exchange).unwrap();
            }
        });
        let mut seen = 0;
        for _ in 0..20_000 {
            for may_wait in [false, true] {
                let looked = files.look(&asked("/swap/secret", Wanted::Any), may_wait);
                if let Ok(Ok(Found::File(found))) = looked {
                    seen += 1;
                    let text = std::io::read_to_string(&found.file.file).unwrap();
                    assert_eq!(text, "public");
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(seen > 0, "it was there now and then");
    });
}

#[rustfmt::skip]
#[test]
fn what_is_tried_is_a_file_or_a_folder() {
    let folder = stage();
    let files = files(folder.path(), "root = \"ROOT/www\"");
    let check = |path: &str, wanted: Wanted, expected: &str| assert_eq!(found(&files, path, wanted), expected, "{path} {wanted:?}");
    check("/a.html", Wanted::File,   "www/a.html");
    check("/sub",    Wanted::File,   "-");
    check("/sub/",   Wanted::File,   "-");
    check("/a.html", Wanted::Folder, "-");
    check("/sub",    Wanted::Folder, "-> /sub/");
    check("/sub/",   Wanted::Folder, "in /sub/");
    check("/",       Wanted::Folder, "www/index.html");
    check("",        Wanted::File,   "-");
}

#[rustfmt::skip]
#[test]
fn an_alias_stands_for_what_the_route_matched() {
    let folder = stage();
    let www = settings(folder.path(), "alias = \"ROOT/www\"");
    let with = |settings: &Static, path: &str| Files::new(settings, &match path.strip_prefix("= ") {
        Some(path) => PathMatch::Exact(path.into()),
        None => PathMatch::Prefix(path.into()),
    }).unwrap();
    let check = |files: &Files, path: &str, expected: &str| assert_eq!(found(files, path, Wanted::Any), expected, "{path}");
    let slash = with(&www, "/img/");
    check(&slash, "/img/a.html",      "www/a.html");
    check(&slash, "/img/sub/b",       "www/sub/b");
    check(&slash, "/img/",            "www/index.html");
    check(&slash, "/a.html",          "-");
    let bare = with(&www, "/img");
    check(&bare,  "/img/a.html",      "www/a.html");
    check(&bare,  "/img",             "-> /img/");
    check(&bare,  "/imga.html",       "-");
    // nginx has led out of the folder like this.
    check(&bare,  "/img../secret",    "-");
    check(&bare,  "/img/../secret",   "-");
    let one = settings(folder.path(), "alias = \"ROOT/www/a.html\"");
    check(&with(&one, "= /robots.txt"), "/robots.txt", "www/a.html");
    let exact = settings(folder.path(), "alias = \"ROOT/www/\"");
    check(&with(&exact, "= /start/"), "/start/", "www/index.html");
}

#[rustfmt::skip]
#[test]
fn a_compressed_file_answers_for_the_one_beside_it_unless_it_is_older() {
    let folder = stage();
    let www = folder.path().join("www");
    for name in ["a.html.gz", "a.html.br", "sub/b.zst"] {
        fs::write(www.join(name), name).unwrap();
    }
    let changed = |name: &str, seconds: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(www.join(name)).unwrap().set_modified(time).unwrap();
    };
    changed("a.html", 1000);
    changed("a.html.gz", 1000);
    changed("a.html.br", 1001);
    changed("sub/b", 1000);
    changed("sub/b.zst", 999);
    let files = files(folder.path(), "root = \"ROOT/www\"\nprecompressed = [\"br\", \"zstd\", \"gzip\"]");
    let check = |path: &str, accepts: &str, expected: &str, varies: bool| {
        let mut request = HeaderMap::new();
        request.insert("accept-encoding", accepts.parse().unwrap());
        let asked = Asked { accepted: Accepted::of(&request), ..asked(path, Wanted::Any) };
        let Ok(Ok(Found::File(found))) = files.look(&asked, true) else { panic!("{path}") };
        let text = std::io::read_to_string(&found.file.file).unwrap();
        assert_eq!((text.as_str(), found.varies), (expected, varies), "{path} {accepts}");
        assert_eq!(found.name, path[1..]);
    };
    check("/a.html",    "gzip, br",        "a.html.br",  true);
    check("/a.html",    "gzip",            "a.html.gz",  true);
    check("/a.html",    "gzip, br;q=0.5",  "a.html.gz",  true);
    check("/a.html",    "zstd",            "www/a.html", true);
    check("/a.html",    "",                "www/a.html", true);
    check("/sub/b",     "zstd",            "www/sub/b",  false);
    check("/a.html.gz", "gzip",            "a.html.gz",  false);
}
