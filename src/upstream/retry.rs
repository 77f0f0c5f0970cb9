//! May a request be sent once more? Pure. (nginx: proxy_next_upstream; RFC 9110 section 9.2.2)

use http::Method;

use super::error::{Error, Kind, Phase};
use crate::config::NextUpstream;

/// How one attempt ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'a> {
    /// With a response of this status.
    Status(u16),
    /// Without a response.
    Failed(&'a Error),
}

/// What a retry depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) method: &'a Method,
    /// The whole request can be sent again.
    pub(super) replayable: bool,
    /// Bytes of it may have reached the peer.
    pub(super) written: bool,
}

/// Whether a request that ended like this may go on to the next peer.
pub(super) fn allowed(outcome: Outcome<'_>, facts: Facts<'_>, next: &NextUpstream) -> bool {
    let condition = match outcome {
        Outcome::Status(status) => next.statuses.contains(status),
        Outcome::Failed(error) => match error.kind {
            Kind::Unresolved | Kind::Refused | Kind::Untrusted | Kind::Closed => next.error,
            Kind::Timeout => next.timeout,
            Kind::InvalidResponse => next.invalid_header,
            Kind::NoLivePeer | Kind::Busy | Kind::RequestBody(_) => false,
        },
    };
    let harmless = !facts.written || next.non_idempotent || is_idempotent(facts.method);
    condition && facts.replayable && harmless
}

/// Whether a request may go to the same peer again over a new connection: a kept connection died
/// under it before a byte of the response came, as it does when the peer closed it meanwhile.
/// That says nothing against the peer and needs no permission from the operator.
pub(super) fn allowed_fresh(error: &Error, facts: Facts<'_>, head_begun: bool) -> bool {
    error.kind == Kind::Closed
        && matches!(error.phase, Phase::Send | Phase::Head)
        && !head_begun
        && facts.replayable
        && (!facts.written || is_idempotent(facts.method))
}

/// How far a failure is that of a peer which is not there at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stops {
    /// Nobody could be reached, and nothing was done.
    NotReached,
    /// The connection broke off under the request, which may be sent again all the same.
    BrokenOff,
    /// It says something else, or the request cannot be sent again.
    Otherwise,
}

/// Whether a request that failed like this could wait for a peer to come back.
pub(super) fn stops(error: &Error, facts: Facts<'_>) -> Stops {
    let harmless = !facts.written || is_idempotent(facts.method);
    match (error.phase, error.kind) {
        _ if !facts.replayable || !harmless => Stops::Otherwise,
        (_, Kind::NoLivePeer) => Stops::NotReached,
        (
            Phase::Resolve | Phase::Connect,
            Kind::Unresolved | Kind::Refused | Kind::Timeout | Kind::Closed,
        ) => Stops::NotReached,
        // One that is there and not trusted will not be trusted later either.
        (Phase::Tls, Kind::Timeout) => Stops::NotReached,
        (Phase::Send | Phase::Head, Kind::Closed) if facts.written => Stops::BrokenOff,
        (Phase::Send | Phase::Head, Kind::Closed) => Stops::NotReached,
        _ => Stops::Otherwise,
    }
}

/// Methods that nginx repeats: all but POST, LOCK and PATCH, of those it knows. A method that
/// nobody knows is not repeated.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::super::error::RequestBody;
    use super::*;
    use crate::semantics::rules::StatusSet;

    #[test]
    #[rustfmt::skip]
    fn follows_the_operators_conditions() {
        use Kind::{Closed, InvalidResponse, NoLivePeer, Refused, Timeout};
        use Phase::{Connect, Head, Resolve};
        //    conditions        method  written  phase    kind                       expected
        check("error",          "GET",  true,    Head,    Closed,                    true);
        check("error",          "PUT",  true,    Head,    Closed,                    true);
        check("error",          "POST", true,    Head,    Closed,                    false);
        check("error",          "LOCK", true,    Head,    Closed,                    false);
        check("error non",      "POST", true,    Head,    Closed,                    true);
        check("error",          "POST", false,   Connect, Refused,                   true);
        check("error",          "POST", false,   Resolve, Kind::Unresolved,          true);
        check("error",          "POST", false,   Phase::Tls, Kind::Untrusted,        true);
        check("timeout",        "GET",  false,   Connect, Refused,                   false);
        check("timeout",        "GET",  true,    Head,    Timeout,                   true);
        check("error",          "GET",  true,    Head,    Timeout,                   false);
        check("invalid_header", "GET",  true,    Head,    InvalidResponse,           true);
        check("error timeout",  "GET",  true,    Head,    InvalidResponse,           false);
        check("",               "GET",  false,   Connect, Refused,                   false);
        check("error timeout",  "GET",  false,   Resolve, NoLivePeer,                false);
        check("error timeout",  "PUT",  true,    Phase::Send, Kind::RequestBody(RequestBody::Transfer), false);
    }

    #[track_caller]
    fn check(on: &str, method: &str, written: bool, phase: Phase, kind: Kind, expected: bool) {
        let method = method.parse().unwrap();
        let error = Error::new(phase, kind);
        let facts = Facts { method: &method, replayable: true, written };
        assert_eq!(allowed(Outcome::Failed(&error), facts, &next(on)), expected);
        let unreplayable = Facts { replayable: false, ..facts };
        assert!(!allowed(Outcome::Failed(&error), unreplayable, &next(on)));
    }

    fn next(on: &str) -> NextUpstream {
        let mut statuses = StatusSet::default();
        statuses.insert(503);
        NextUpstream {
            error: on.contains("error"),
            timeout: on.contains("timeout"),
            invalid_header: on.contains("invalid_header"),
            non_idempotent: on.contains("non"),
            statuses,
        }
    }

    #[test]
    fn listed_statuses_go_on_for_idempotent_requests() {
        let get = Facts { method: &Method::GET, replayable: true, written: true };
        let post = Facts { method: &Method::POST, ..get };
        assert!(allowed(Outcome::Status(503), get, &next("")));
        assert!(!allowed(Outcome::Status(500), get, &next("")));
        assert!(!allowed(Outcome::Status(503), post, &next("")));
        assert!(allowed(Outcome::Status(503), post, &next("non")));
    }

    #[test]
    #[rustfmt::skip]
    fn who_is_held_has_done_nothing_or_nothing_that_counts() {
        use Kind::{Closed, InvalidResponse, NoLivePeer, Refused, Timeout};
        use Phase::{Connect, Head, Resolve, Send};
        //   method  written  phase    kind              expected
        stop("GET",  false,   Resolve, NoLivePeer,       Stops::NotReached);
        stop("POST", false,   Connect, Refused,          Stops::NotReached);
        stop("POST", false,   Connect, Timeout,          Stops::NotReached);
        stop("POST", false,   Resolve, Kind::Unresolved, Stops::NotReached);
        stop("POST", false,   Send,    Closed,           Stops::NotReached);
        stop("POST", false,   Phase::Tls, Timeout,       Stops::NotReached);
        stop("POST", false,   Phase::Tls, Kind::Untrusted, Stops::Otherwise);
        stop("GET",  true,    Connect, Refused,          Stops::NotReached);
        stop("GET",  true,    Head,    Closed,           Stops::BrokenOff);
        stop("POST", true,    Head,    Closed,           Stops::Otherwise);
        stop("POST", true,    Connect, Refused,          Stops::Otherwise);
        stop("GET",  true,    Head,    Timeout,          Stops::Otherwise);
        stop("GET",  true,    Head,    InvalidResponse,  Stops::Otherwise);
        stop("GET",  false,   Resolve, Kind::Busy,       Stops::Otherwise);
    }

    #[track_caller]
    fn stop(method: &str, written: bool, phase: Phase, kind: Kind, expected: Stops) {
        let method = method.parse().unwrap();
        let facts = Facts { method: &method, replayable: true, written };
        assert_eq!(stops(&Error::new(phase, kind), facts), expected);
        let gone = Facts { replayable: false, ..facts };
        assert_eq!(stops(&Error::new(phase, kind), gone), Stops::Otherwise);
    }

    #[test]
    fn a_kept_connection_that_died_is_replaced_once() {
        let closed = Error::new(Phase::Head, Kind::Closed);
        let get = Facts { method: &Method::GET, replayable: true, written: true };
        let post = Facts { method: &Method::POST, ..get };
        assert!(allowed_fresh(&closed, get, false));
        assert!(!allowed_fresh(&closed, get, true), "the response had begun");
        assert!(!allowed_fresh(&closed, post, false), "it may have been carried out");
        assert!(allowed_fresh(&closed, Facts { written: false, ..post }, false));
        assert!(!allowed_fresh(&closed, Facts { replayable: false, ..get }, false));
        let timeout = Error::new(Phase::Head, Kind::Timeout);
        assert!(!allowed_fresh(&timeout, get, false));
    }
}
