//! What a reason means to an operator, and the smallest change that would make it otherwise.

use http::{HeaderName, header};

use super::freshness::X_ACCEL_EXPIRES;
use super::reason::Reason;

/// A reason in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What it means, as a sentence.
    pub why: &'static str,
    /// The smallest change that would let the response be served from the cache, where it was not
    /// and a change of the origin or the configuration would do.
    pub change: Option<&'static str>,
}

/// The response field that gave a reason, if one did.
pub fn field_of(reason: Reason) -> Option<HeaderName> {
    match reason {
        Reason::NoStore | Reason::Private | Reason::StaleOnArrival | Reason::NoCache => {
            Some(header::CACHE_CONTROL)
        }
        Reason::VaryStar | Reason::VaryTooLong | Reason::VarySetHeader => Some(header::VARY),
        Reason::XAccelExpires => Some(X_ACCEL_EXPIRES),
        _ => None,
    }
}

/// What a reason means.
pub fn advice(reason: Reason) -> Advice {
    let (why, change) = served(reason)
        .or_else(|| fetched(reason))
        .or_else(|| not_stored(reason))
        .unwrap_or(("it was answered here", ""));
    Advice { why, change: (!change.is_empty()).then_some(change) }
}

type Words = (&'static str, &'static str);

fn served(reason: Reason) -> Option<Words> {
    Some(match reason {
        Reason::Fresh => ("the stored response is fresh", ""),
        Reason::Revalidated => ("the origin said that the stored response is still good", ""),
        Reason::Updating => {
            ("the stored response is stale but may be served while it is validated behind", "")
        }
        Reason::OriginFailed => ("the origin failed and the stale response may stand in", ""),
        Reason::HeldDown => (
            "the origin failed a moment ago, so the stale response stands in until `hold_down` is over",
            "",
        ),
        Reason::MaxStale => ("the stored response is stale, and the request takes that", ""),
        Reason::OnlyIfCached => {
            ("nothing usable is stored, and the request takes nothing else (only-if-cached)", "")
        }
        Reason::Limited => ("there were too many such requests", ""),
        Reason::Denied => ("who asks may not", ""),
        Reason::Unauthorised => ("who asks has not said who that is", ""),
        Reason::Collapsed => ("another request was fetching it already", ""),
        _ => return None,
    })
}

fn fetched(reason: Reason) -> Option<Words> {
    Some(match reason {
        Reason::Absent => ("nothing is stored under this key", ""),
        Reason::OtherVariant => (
            "what is stored under this key is for other values of the request fields that Vary names",
            "",
        ),
        Reason::Incomplete => ("only a part is stored, and not the one that was asked for", ""),
        Reason::RangeOffset => (
            "the range begins at or behind `max_range_offset`, so it is passed on",
            "raise `max_range_offset`, or fetch in slices with `slice`",
        ),
        Reason::RangeAhead => (
            "it is being fetched, and the range begins far behind what has come so far, so that it is passed on",
            "fetch in slices with `slice`",
        ),
        Reason::Expired => (
            "the stored response is no longer fresh",
            "give it a longer lifetime, or let it be served stale: `use_stale = [\"updating\"]` with `background_update = true`",
        ),
        Reason::NoCache => (
            "the stored response asks to be validated before every use",
            "let the origin send max-age instead of no-cache",
        ),
        Reason::RequestDirective => (
            "the stored response is fresh, but the request asks for more",
            "`request_directives = \"ignore\"`, or change what the request sends",
        ),
        Reason::Precondition => (
            "only the origin can say whether the request's If-Match or If-Unmodified-Since holds",
            "",
        ),
        Reason::CacheOff => {
            ("the route has no cache, or none for this request", "give the route `cache.zone`")
        }
        Reason::UnknownZone => (
            "`zone` gave the name of no zone for this request",
            "declare the zone, or change what the request sends",
        ),
        Reason::Method => ("the route does not cache this method", "add it to `methods`"),
        Reason::BypassRule => {
            ("a `bypass` rule matches the request", "change the rule, or what the request sends")
        }
        Reason::Upgrade => ("the request asks to switch protocols", ""),
        Reason::RequestBody => ("the request has a body, which the key does not cover", ""),
        Reason::LockTimeout => {
            ("another request's fetch took longer than `lock_timeout`", "raise `lock_timeout`")
        }
        _ => return None,
    })
}

fn not_stored(reason: Reason) -> Option<Words> {
    Some(match reason {
        Reason::MinUses => ("it was asked for fewer times than `min_uses`", "lower `min_uses`"),
        Reason::NoCacheRule => {
            ("a `no_cache` rule matched", "change the rule, or what the request sends")
        }
        Reason::RequestNoStore => (
            "the request forbids it with no-store",
            "`request_directives = \"ignore\"`, or change what the request sends",
        ),
        Reason::NotUnderstood => (
            "the response has must-understand and a status that is none of RFC 9110's",
            "let the origin send another status, or leave must-understand out",
        ),
        Reason::Malformed => (
            "a number in Cache-Control is none, as nginx reads it",
            "let the origin write its numbers without quotes, or `semantics = \"rfc9111\"`",
        ),
        Reason::NoStore => (
            "the response forbids it with no-store",
            "let the origin leave no-store out, or `ignore_headers = [\"Cache-Control\"]` with a `valid` of your own",
        ),
        Reason::Private => (
            "the response is private, for one client only",
            "let the origin send public or s-maxage, or keep entries apart by client with `partition`",
        ),
        Reason::SetCookie => (
            "the response sets a cookie",
            "let the origin set no cookie here, or `ignore_headers = [\"Set-Cookie\"]` together with `hide_header = [\"Set-Cookie\"]`",
        ),
        Reason::Authorization => (
            "the request was authorised, and the response does not say that it is for all",
            "let the origin send public, s-maxage or must-revalidate, or keep entries apart by client with `partition = [\"$http_authorization\"]`",
        ),
        Reason::VaryStar => (
            "Vary: * matches no later request",
            "let the origin name the request fields that count",
        ),
        Reason::SentOn => ("X-Accel-Redirect sends it on", "cache what it leads to"),
        Reason::VarySetHeader => (
            "Vary names a field that `set_header` sets to what may differ from client to client",
            "let the origin leave it out of Vary, or put what it is set to into `key`",
        ),
        Reason::VaryTooLong => {
            ("Vary names more request fields than are followed", "let the origin name fewer")
        }
        Reason::NoLifetime => (
            "nothing says how long it is fresh, and it has no validator",
            "let the origin send Cache-Control: max-age=60, or give `valid` for this status",
        ),
        Reason::XAccelExpires => (
            "X-Accel-Expires: 0 forbids it",
            "let the origin leave it out, or add it to `ignore_headers`",
        ),
        Reason::StaleOnArrival => (
            "it was stale when it came, and it has no validator",
            "let the origin send a max-age greater than its Age, or an ETag",
        ),
        Reason::Partial => ("it is a part of something", ""),
        Reason::Status => ("its status says nothing that could be used again", ""),
        Reason::TooLarge => (
            "it is larger than the zone takes",
            "raise the zone's limits, or give the zone a `path`",
        ),
        Reason::UpstreamFailed => (
            "no valid answer came from the upstream",
            "see the event log and `larder stats` for its peers",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_put_into_words() {
        for reason in Reason::ALL {
            let groups = [served(*reason), fetched(*reason), not_stored(*reason)];
            let known = groups.into_iter().flatten().count();
            let own =
                matches!(reason, Reason::Refused | Reason::File | Reason::Respond | Reason::Purge);
            assert_eq!(known, usize::from(!own), "{reason}");
        }
    }
}
