//! What a request must pass before it is answered, in the order of nginx's phases.
//!
//! ```text
//!   address     who asks: a trusted proxy may say            real_ip
//!   requests    too many in this time? 503, or wait          limit_req
//!   under_way   too many at a time? 503                      limit_conn
//!   access      403 401, or the status of who is asked       access, auth_basic, auth_request
//!   ----------- then the request is answered, from the cache or not
//!   pace        no faster than this                          limit_rate
//! ```
//!
//! A route that asks nothing has no gate, and costs a look at that.

mod address;
pub mod limit;
mod table;
mod requests;
mod under_way;
pub mod basic;
mod password;
mod ask;
pub(super) mod pace;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};

use self::ask::Ask;
use self::basic::Basic;
use self::limit::Limit;
use self::requests::Verdict;
pub(super) use self::under_way::Held;
use super::call::Call;
use super::deliver::Answer;
use super::error::Error;
use super::route::Route;
use super::{Sent, Worker};
use crate::address::Remote;
use crate::config::{self, LimitConn, LimitReq, Rate};
use crate::semantics::reason::Reason;

/// What the requests of a route must pass.
pub struct Gate {
    settings: config::Gate,
    limit_req: Vec<(LimitReq, Arc<Limit>)>,
    limit_conn: Vec<(LimitConn, Arc<Limit>)>,
    basic: Option<Arc<Basic>>,
    ask: Option<Ask>,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: Reason,
    /// `WWW-Authenticate`.
    pub(super) challenges: Vec<HeaderValue>,
    /// When it could be tried again.
    pub(super) retry_after_s: Option<u64>,
}

/// What the limits of a route said, for the variables that tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limited {
    /// nginx: $limit_req_status.
    pub(super) requests: Option<Outcome>,
    /// nginx: $limit_conn_status.
    pub(super) connections: Option<Outcome>,
}

/// What a limit made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Delayed,
    Rejected,
    DelayedDryRun,
    RejectedDryRun,
}

impl Gate {
    /// The gate of a route, with the limits of the configuration in order; `asked` is who answers
    /// an `auth_request` to an upstream. `None` where it asks nothing.
    pub fn new(
        settings: &config::Gate,
        limits: &[Arc<Limit>],
        basic: Option<Arc<Basic>>,
        asked: Option<Arc<Route>>,
    ) -> Option<Box<Self>> {
        if settings.is_open() {
            return None;
        }
        let limit = |number: usize| limits.get(number).map(Arc::clone);
        let requests = settings.limit_req.iter();
        let under_way = settings.limit_conn.iter();
        Some(Box::new(Self {
            limit_req: requests.filter_map(|rule| Some((*rule, limit(rule.limit)?))).collect(),
            limit_conn: under_way.filter_map(|rule| Some((*rule, limit(rule.limit)?))).collect(),
            basic,
            ask: settings.auth_request.as_ref().map(|ask| Ask::new(ask, asked)),
            settings: settings.clone(),
        }))
    }

    /// Who asks, if somebody in front may say.
    pub(super) fn remote(&self, call: &Call<'_>) -> Option<Remote> {
        let real_ip = self.settings.real_ip.as_ref()?;
        Some(address::real(call.connection, &call.request.headers, real_ip))
    }

    /// Fields that only an `auth_request` may set, where none was sent: no client sets them.
    fn nobody_said(&self) -> Vec<(HeaderName, Option<HeaderValue>)> {
        let set = self.settings.auth_request.iter().flat_map(|ask| &ask.set);
        set.map(|(name, _)| (name.clone(), None)).collect()
    }

    fn rate(&self, call: &Call<'_>) -> Rate {
        let none = Rate { bytes_per_s: 0, after_bytes: 0 };
        self.settings.limit_rate.as_ref().map_or(none, |limit| pace::rate(limit, call))
    }
}

/// Answers a request that passes, and refuses one that does not.
///
/// # Errors
/// Answer it.
pub(super) async fn pass(
    mut call: Call<'_>,
    gate: &Gate,
    sent: &mut Sent<'_>,
) -> Result<Answer, Error> {
    if let Some(remote) = gate.remote(&call) {
        call.remote = remote;
        sent.came_from(remote);
    }
    let held = limits(&mut call, gate).await;
    sent.limited = call.limited;
    // Where another route counted it before, it still counts.
    sent.held = held?.map(Box::new).or(sent.held.take());
    let set = access(&call, gate).await?;
    let rate = gate.rate(&call);
    let mut answer = if set.is_empty() {
        Worker::routed(call, sent.gap, &mut sent.body).await?
    } else {
        // What the one who was asked says of the client stands in place of what the client says.
        let mut request = call.request.clone();
        set_fields(&mut request.headers, set);
        let call = Call { request: &request, ..call };
        Worker::routed(call, sent.gap, &mut sent.body).await?
    };
    answer.slow_down(rate, &call.worker.proxy.clock);
    Ok(answer)
}

/// What counts requests: all of `limit_req` first, then `limit_conn`. What was counted already, by
/// the route that handed it over, is not counted again. (nginx: preaccess)
async fn limits(call: &mut Call<'_>, gate: &Gate) -> Result<Option<Held>, Error> {
    if !gate.limit_req.is_empty() && call.limited.requests.is_none() {
        let refusal = gate.settings.limit_req_refusal;
        let verdict = requests::count(call, &gate.limit_req);
        call.limited.requests = verdict.map(|verdict| verdict.outcome(refusal.dry_run));
        match verdict {
            Some(Verdict::Wait(time)) if !refusal.dry_run => tokio::time::sleep(time).await,
            Some(Verdict::Refuse { retry_after_s }) if !refusal.dry_run => {
                return Err(limited(refusal.status, Some(retry_after_s)));
            }
            _ => {}
        }
    }
    if gate.limit_conn.is_empty() || call.limited.connections.is_some() {
        return Ok(None);
    }
    let refusal = gate.settings.limit_conn_refusal;
    match under_way::hold(call, &gate.limit_conn) {
        Some(held) => {
            call.limited.connections = (!held.is_empty()).then_some(Outcome::Passed);
            Ok(Some(held))
        }
        None if refusal.dry_run => {
            call.limited.connections = Some(Outcome::RejectedDryRun);
            Ok(None)
        }
        None => Err(limited(refusal.status, None)),
    }
}

fn limited(status: StatusCode, retry_after_s: Option<u64>) -> Error {
    let challenges = Vec::new();
    Error::Gate(Box::new(Refusal { status, reason: Reason::Limited, challenges, retry_after_s }))
}

/// Who may ask: all that is set must let the request in, or with `satisfy = "any"` one of it. Gives
/// the fields that the request gets. (nginx: access)
async fn access(
    call: &Call<'_>,
    gate: &Gate,
) -> Result<Vec<(HeaderName, Option<HeaderValue>)>, Error> {
    let any = gate.settings.satisfy_any;
    let mut refused = None;
    let rules = gate.settings.access_for(&call.request.method);
    match address::rule(rules, call.remote) {
        Some(true) if any => return Ok(gate.nobody_said()),
        Some(false) => refused = after(any, refused, address::denied())?,
        _ => {}
    }
    if let Some(basic) = &gate.basic {
        match basic.check(&call.request.headers, call.now.0).await {
            Ok(()) if any => return Ok(gate.nobody_said()),
            Ok(()) => {}
            Err(refusal) => refused = after(any, refused, refusal)?,
        }
    }
    if let Some(ask) = &gate.ask {
        match ask.ask(call).await {
            Ok(set) => return Ok(set),
            Err(refusal) => refused = after(any, refused, refusal)?,
        }
    }
    match refused {
        Some(refusal) => Err(Error::Gate(Box::new(refusal))),
        None => Ok(gate.nobody_said()),
    }
}

/// What is left to say after one refusal more: it is the end unless one way in is enough. Then a
/// challenge is said rather than a plain no, as a client can do something about it.
fn after(any: bool, before: Option<Refusal>, now: Refusal) -> Result<Option<Refusal>, Error> {
    let is_no = matches!(now.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !any || !is_no {
        return Err(Error::Gate(Box::new(now)));
    }
    let keeps = |before: &Refusal| before.status == StatusCode::UNAUTHORIZED;
    Ok(Some(before.filter(keeps).unwrap_or(now)))
}

fn set_fields(fields: &mut http::HeaderMap, set: Vec<(HeaderName, Option<HeaderValue>)>) {
    for (name, value) in set {
        match value {
            Some(value) => drop(fields.insert(name, value)),
            None => drop(fields.remove(name)),
        }
    }
}

impl Refusal {
    /// Adds what the client can do about it.
    pub(super) fn tell(&self, fields: &mut http::HeaderMap) {
        for challenge in &self.challenges {
            fields.append(header::WWW_AUTHENTICATE, challenge.clone());
        }
        if let Some(seconds) = self.retry_after_s {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

impl Outcome {
    /// nginx's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Delayed => "DELAYED",
            Self::Rejected => "REJECTED",
            Self::DelayedDryRun => "DELAYED_DRY_RUN",
            Self::RejectedDryRun => "REJECTED_DRY_RUN",
        }
    }
}
