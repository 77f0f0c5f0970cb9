//! What is to be done with a request, and why: decided here for the steps and for `explain`.

use super::call::Call;
use super::extent::Extent;
use super::partial;
use super::route::Cache;
use crate::cache::lookup::{Found, Lookup};
use crate::semantics::demand::Demand;
use crate::semantics::reason::Reason;
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::stale;
use crate::semantics::status::{CacheStatus, Forwarded, Handling};

/// What is to be done with a request for what a lookup found.
pub(super) enum Plan<'a> {
    /// Serve it.
    Hit(&'a Found),
    /// Serve it stale, and have it validated behind the answer.
    Updating(&'a Found),
    /// Serve it stale: the origin failed a moment ago.
    HeldDown(&'a Found),
    /// Serve it stale: the request takes that.
    MaxStale(&'a Found),
    /// Ask the origin, or wait for somebody who does.
    Ask,
}

/// Decides; changes nothing, so that `explain` can ask as well.
pub(super) fn plan<'a>(call: &Call<'_>, cache: &Cache, lookup: &'a Lookup) -> Plan<'a> {
    let Lookup::Found(found) = lookup else { return Plan::Ask };
    let settings = &cache.settings;
    let failed = || cache.zone.held_down(found.at, settings.hold_down);
    match reuse::decide(&found.stored, &settings.rules, &call.demand(cache), call.now) {
        Reuse::Fresh => Plan::Hit(found),
        Reuse::MaxStale => Plan::MaxStale(found),
        Reuse::StaleWhileRevalidate if failed().is_some() => Plan::HeldDown(found),
        Reuse::StaleWhileRevalidate => Plan::Updating(found),
        Reuse::Validate => match failed() {
            Some(failure)
                if stale::may_stand_in(&found.stored, &settings.rules, failure, call.now) =>
            {
                Plan::HeldDown(found)
            }
            _ => Plan::Ask,
        },
    }
}

/// How much there is to fetch, where something is. A part that has not what is asked for is no
/// answer; it may be the beginning of one.
pub(super) fn what_to_ask_for(call: &Call<'_>, cache: &Cache, found: Lookup) -> (Lookup, Extent) {
    match found {
        Lookup::Found(found) if !partial::is_enough(call, &found) => {
            let lookup = Lookup::Absent { at: found.at, other_variant: false };
            let passes = Extent::passes(call, cache);
            (lookup, if passes { Extent::AsAsked } else { Extent::completing(call, &found) })
        }
        lookup if Extent::passes(call, cache) => (lookup, Extent::AsAsked),
        lookup => (lookup, Extent::Whole),
    }
}

/// Why there is something to ask the origin for.
pub(super) fn why_asked(
    call: &Call<'_>,
    cache: &Cache,
    lookup: &Lookup,
    extent: &Extent,
) -> Handling {
    let (forwarded, reason) = match lookup {
        _ if matches!(extent, Extent::AsAsked) => (Forwarded::Request, Reason::RangeOffset),
        _ if matches!(extent, Extent::RestOf(_)) => (Forwarded::Partial, Reason::Incomplete),
        Lookup::Found(found) if found.stored.no_cache => (Forwarded::Stale, Reason::NoCache),
        Lookup::Found(found) if is_fresh_by_itself(call, cache, found) => {
            (Forwarded::Request, Reason::RequestDirective)
        }
        Lookup::Found(_) => (Forwarded::Stale, Reason::Expired),
        Lookup::Absent { other_variant: true, .. } => (Forwarded::VaryMiss, Reason::OtherVariant),
        Lookup::Absent { .. } | Lookup::AskDisk => (Forwarded::UriMiss, Reason::Absent),
    };
    Handling::forwarded(forwarded, reason)
}

/// nginx's word for an answer that has to be fetched.
pub(super) fn fetched_status(call: &Call<'_>, cache: &Cache, lookup: &Lookup) -> CacheStatus {
    match lookup {
        Lookup::Found(found) if is_fresh_by_itself(call, cache, found) => CacheStatus::Bypass,
        Lookup::Found(_) => CacheStatus::Expired,
        Lookup::Absent { .. } | Lookup::AskDisk => CacheStatus::Miss,
    }
}

/// Whether only the request asks for more than what is stored.
fn is_fresh_by_itself(call: &Call<'_>, cache: &Cache, found: &Found) -> bool {
    reuse::decide(&found.stored, &cache.settings.rules, &Demand::NONE, call.now) == Reuse::Fresh
}
