//! `larder purge`: removes what a running server has stored for a URL.

use std::io::Write as _;

use http::StatusCode;

use crate::admin::client;
use crate::admin::routes::{self, Purged};
use crate::cli::Purge;
use crate::commands::{self, Failure};

/// Asks the server to forget the URL and prints what was removed. That nothing was stored is no
/// failure: it is gone either way.
///
/// # Errors
///
/// The server is not running, or refused.
pub fn run(arguments: &Purge) -> Result<(), Failure> {
    routes::check_url(&arguments.url).map_err(Failure::new)?;
    let document = routes::Purge { url: arguments.url.clone() };
    let document = serde_json::to_vec(&document).map_err(Failure::new)?;
    let answer = commands::block_on(client::post(&arguments.admin, "/v1/purge", document))??;
    let line = match (answer.status, serde_json::from_slice(&answer.body)) {
        (StatusCode::OK | StatusCode::NOT_FOUND, Ok(purged)) => describe(purged, &arguments.url),
        _ => return Err(commands::refusal(&answer)),
    };
    writeln!(anstream::stdout(), "{line}")?;
    Ok(())
}

fn describe(Purged { purged }: Purged, url: &str) -> String {
    match purged {
        0 => format!("nothing was stored for {url}"),
        1 => format!("purged 1 response for {url}"),
        _ => format!("purged {purged} responses for {url}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use crate::config::AdminAddress;

    fn purge(url: &str) -> Failure {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let admin = AdminAddress::Tcp(free);
        run(&Purge { url: url.to_owned(), admin }).unwrap_err()
    }

    #[test]
    fn a_server_that_is_not_running_is_status_3() {
        let failure = purge("http://a.example/");
        assert_eq!(failure.status, 3);
        let problem = failure.problem.unwrap();
        assert!(problem.starts_with("not running: nobody listens on 127.0.0.1:"), "{problem}");
    }

    #[test]
    fn a_url_without_a_host_is_refused_before_anybody_is_asked() {
        let failure = purge("/a");
        assert_eq!(failure.status, 1);
        assert!(failure.problem.unwrap().contains("no absolute URL"));
    }

    #[test]
    fn says_how_many() {
        assert_eq!(describe(Purged { purged: 0 }, "u"), "nothing was stored for u");
        assert_eq!(describe(Purged { purged: 1 }, "u"), "purged 1 response for u");
        assert_eq!(describe(Purged { purged: 2 }, "u"), "purged 2 responses for u");
    }
}
