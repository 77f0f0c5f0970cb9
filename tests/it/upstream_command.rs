//! `larder upstream`: servers are listed, taken out and taken back by hand.

use std::process::Command;

use crate::harness::{Origin, Proxy, ok};

/// What `larder upstream` printed, and how it ended.
struct Ran {
    status: i32,
    out: String,
    problem: String,
}

#[tokio::test]
async fn a_server_is_drained_taken_down_and_up_again() {
    let (one, two) = (origin("one").await, origin("two").await);
    let proxy = proxy(&one, &two).await;
    assert_eq!(answers(&proxy).await, "one two");
    let first = format!("app/{}", one.address);
    for (word, state) in [("drain", "draining"), ("down", "down")] {
        let ran = larder(&proxy, &[word, &first]).await;
        assert_eq!(ran.status, 0, "{}", ran.problem);
        assert_eq!(answers(&proxy).await, "two", "{word}");
        let listed = larder(&proxy, &["ls"]).await.out;
        assert!(
            listed.lines().any(|line| line.starts_with("app") && line.contains(state)),
            "{listed}"
        );
        let stats = proxy.stats().await;
        assert_eq!(stats["upstreams"]["app"]["peers"][0]["state"], state);
        larder(&proxy, &["up", &first]).await;
        assert_eq!(answers(&proxy).await, "one two");
    }
    assert_eq!(larder(&proxy, &["down", "app"]).await.status, 0);
    assert_eq!(proxy.get("/a").await.status, 502);
    assert_eq!(larder(&proxy, &["up", "app"]).await.status, 0);
    assert_eq!(answers(&proxy).await, "one two");
}

#[tokio::test]
async fn what_the_configuration_takes_out_may_be_taken_in() {
    let (one, two) = (origin("one").await, origin("two").await);
    let proxy = proxy_with(&one, &two, ", down = true").await;
    assert_eq!(answers(&proxy).await, "one");
    larder(&proxy, &["up", &format!("app/{}", two.address)]).await;
    assert_eq!(answers(&proxy).await, "one two");
}

#[tokio::test]
async fn what_failed_is_up_at_once_when_the_operator_says_so() {
    let (one, two) = (origin("one").await, origin("two").await);
    let proxy = proxy(&one, &two).await;
    two.next("/a", crate::harness::Reply::hang_up());
    // The failed one is left alone for 10 seconds, and the clock stands still.
    assert_eq!(answers(&proxy).await, "one");
    larder(&proxy, &["up", "app"]).await;
    assert_eq!(answers(&proxy).await, "one two");
}

#[tokio::test]
async fn json_is_that_of_the_admin_api() {
    let (one, two) = (origin("one").await, origin("two").await);
    let proxy = proxy(&one, &two).await;
    let document = |ran: Ran| -> serde_json::Value { serde_json::from_str(&ran.out).unwrap() };
    let all = document(larder(&proxy, &["ls", "--json"]).await);
    assert_eq!(all["upstreams"]["app"]["peers"][1]["address"], two.address.to_string());
    assert!(all["upstreams"]["other.test:80"].is_object(), "{all}");
    let app = document(larder(&proxy, &["ls", "app", "--json"]).await);
    assert_eq!(app["upstreams"].as_object().unwrap().len(), 1);
    let changed = document(larder(&proxy, &["drain", "app", "--json"]).await);
    assert_eq!(changed["upstreams"]["app"]["peers"][0]["state"], "draining");
    let (status, answer) =
        proxy.admin_post("/v1/upstreams", r#"{"upstream":"app","state":"up"}"#).await;
    assert_eq!((status, &answer["upstreams"]["app"]["peers"][0]["state"]), (200, &"up".into()));
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let (one, two) = (origin("one").await, origin("two").await);
    let proxy = proxy(&one, &two).await;
    for (arguments, status, problem) in [
        (&["drain", "nothing"][..], 1, "no upstream `nothing`"),
        (&["ls", "nothing"], 1, "no upstream `nothing`"),
        (&["down", "app/127.0.0.1:1"], 1, "no server `127.0.0.1:1` in upstream `app`"),
        (&["up", "app/"], 2, "expected `NAME` or `NAME/HOST:PORT`"),
    ] {
        let ran = larder(&proxy, arguments).await;
        assert_eq!(ran.status, status, "{arguments:?}: {}", ran.problem);
        assert!(ran.problem.contains(problem), "{arguments:?}: {}", ran.problem);
    }
    for document in ["", r#"{"upstream":"app"}"#, r#"{"upstream":"app","state":"off"}"#] {
        assert_eq!(proxy.admin_post("/v1/upstreams", document).await.0, 400, "{document}");
    }
    let (status, _) = proxy.admin_post("/v1/upstreams", r#"{"upstream":"x","state":"up"}"#).await;
    assert_eq!(status, 404);
}

async fn origin(says: &str) -> Origin {
    let origin = Origin::start().await;
    origin.on("/a", ok(says));
    origin
}

async fn proxy(one: &Origin, two: &Origin) -> Proxy {
    proxy_with(one, two, "").await
}

async fn proxy_with(one: &Origin, two: &Origin, keys: &str) -> Proxy {
    let config = format!(
        "[server]\nworkers = 1\nresolver = \"127.0.0.1:1\"\n[upstream.app]\n\
         server = [\"{}\", {{ address = \"{}\"{keys} }}]\n[[site]]\nlisten = \"127.0.0.1:0\"\n\
         [[site.route]]\npath = \"/\"\nproxy = \"http://app\"\n\
         [[site.route]]\npath = \"/other\"\nproxy = \"http://other.test\"\n",
        one.address, two.address
    );
    Proxy::with(&config, one).await
}

/// Who answers some requests.
async fn answers(proxy: &Proxy) -> String {
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..6 {
        let response = proxy.get("/a").await;
        assert_eq!(response.status, 200);
        answers.insert(response.text());
    }
    answers.into_iter().collect::<Vec<_>>().join(" ")
}

async fn larder(proxy: &Proxy, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("upstream").args(arguments);
    command.args(["--admin", &proxy.admin.unwrap().to_string()]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: text(output.stdout),
        problem: text(output.stderr),
    }
}
