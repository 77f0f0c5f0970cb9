//! Requests over time: a leaky bucket in thousandths of a request and in milliseconds, to the bit
//! that of nginx. (nginx: limit_req)

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Outcome;
use super::limit::Limit;
use crate::config::LimitReq;
use crate::proxy::call::Call;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on after this time.
    Wait(Duration),
    /// There were too many; one could pass after so many seconds.
    Refuse { retry_after_s: u64 },
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// Requests above the rate, in thousandths.
    excess: u64,
    /// When that was so; 0 for one that only looked.
    last_ms: u64,
}

/// Counts a request against all limits of its route, the strictest of which says what becomes of
/// it. `None` if it has no key in any. A request that is refused is counted nowhere.
pub(super) fn count(call: &Call<'_>, rules: &[(LimitReq, Arc<Limit>)]) -> Option<Verdict> {
    let mut scratch = Vec::new();
    let keyed: Vec<_> = rules
        .iter()
        .filter_map(|(rule, limit)| Some((rule, limit, limit.key(call, &mut scratch)?)))
        .collect();
    let now_ms = call.now.0;
    let (last, others) = keyed.split_last()?;
    // First it is asked whether all let it pass, then all count it; one alone does both at once.
    for (rule, limit, key) in others {
        if let Some(refused) = refused(limit, rule, limit.look(*key, now_ms)) {
            return Some(refused);
        }
    }
    let (rule, limit, key) = last;
    let excess = match limit.count(*key, now_ms, Some(burst(rule))) {
        Ok(excess) => excess,
        Err(excess) => return refused(limit, rule, excess),
    };
    let mut wait_ms = delay_ms(limit, rule, excess);
    for (rule, limit, key) in others {
        // Somebody else may have come in between, as in nginx.
        let (Ok(excess) | Err(excess)) = limit.count(*key, now_ms, None);
        wait_ms = wait_ms.max(delay_ms(limit, rule, excess));
    }
    let wait = Duration::from_millis(wait_ms);
    Some(if wait_ms == 0 { Verdict::Pass } else { Verdict::Wait(wait) })
}

fn burst(rule: &LimitReq) -> u64 {
    u64::from(rule.burst) * 1000
}

fn refused(limit: &Limit, rule: &LimitReq, excess: u64) -> Option<Verdict> {
    let above = excess.checked_sub(burst(rule)).filter(|above| *above > 0)?;
    Some(Verdict::Refuse { retry_after_s: above.div_ceil(limit.rate()).max(1) })
}

fn delay_ms(limit: &Limit, rule: &LimitReq, excess: u64) -> u64 {
    let free = rule.delay.map_or(u64::MAX, |count| u64::from(count) * 1000);
    excess.saturating_sub(free).saturating_mul(1000) / limit.rate()
}

impl Limit {
    fn rate(&self) -> u64 {
        self.settings.rate_millis.unwrap_or(u64::MAX).max(1)
    }

    /// The excess that one request more would make.
    fn look(&self, key: u64, now_ms: u64) -> u64 {
        let mut table = self.shard(key).buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match table.get(key) {
            Some(bucket) => bucket.excess_at(now_ms, self.rate()),
            None => {
                table.insert(key, Bucket::default());
                0
            }
        }
    }

    /// Counts a request, unless that makes more excess than `burst`; gives the excess either way.
    fn count(&self, key: u64, now_ms: u64, burst: Option<u64>) -> Result<u64, u64> {
        let mut table = self.shard(key).buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = table.get(key) else {
            table.insert(key, Bucket { excess: 0, last_ms: now_ms });
            return Ok(0);
        };
        let excess = bucket.excess_at(now_ms, self.rate());
        if burst.is_some_and(|burst| excess > burst) {
            return Err(excess);
        }
        *bucket = Bucket { excess, last_ms: bucket.last_ms.max(now_ms) };
        Ok(excess)
    }
}

impl Bucket {
    /// With one request more at `now_ms`.
    fn excess_at(&self, now_ms: u64, rate: u64) -> u64 {
        let leaked = rate.saturating_mul(now_ms.saturating_sub(self.last_ms)) / 1000;
        (self.excess + 1000).saturating_sub(leaked)
    }
}

impl Verdict {
    pub(super) fn outcome(self, dry_run: bool) -> Outcome {
        match (self, dry_run) {
            (Self::Pass, _) => Outcome::Passed,
            (Self::Wait(_), false) => Outcome::Delayed,
            (Self::Wait(_), true) => Outcome::DelayedDryRun,
            (Self::Refuse { .. }, false) => Outcome::Rejected,
            (Self::Refuse { .. }, true) => Outcome::RejectedDryRun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template::Template;

    /// nginx's own lines, written down apart: what one limit makes of requests at these times.
    fn nginx(rate: i64, burst: i64, times_ms: &[u64]) -> Vec<Option<i64>> {
        let (mut known, mut excess_kept, mut last) = (false, 0_i64, 0_u64);
        let mut decide = |now: u64| {
            if !known {
                (known, last) = (true, now);
                return Some(0);
            }
            let ms = now as i64 - last as i64;
            let excess = (excess_kept - rate * ms / 1000 + 1000).max(0);
            if excess > burst * 1000 {
                return None;
            }
            excess_kept = excess;
            last = if ms != 0 { now } else { last };
            Some(excess)
        };
        times_ms.iter().map(|now| decide(*now)).collect()
    }

    proptest::proptest! {
        #[test]
        fn one_limit_counts_as_nginx_does(
            gaps in proptest::collection::vec(0_u64..700, 1..60),
            rate in 16_u64..20_000,
            burst in 0_u32..8,
        ) {
            let mut now = 1_790_000_000_000;
            let times: Vec<u64> = gaps.iter().map(|gap| { now += gap; now }).collect();
            let limit = limit(rate, 100);
            let rule = LimitReq { limit: 0, burst, delay: Some(0) };
            let ours: Vec<_> = times
                .iter()
                .map(|now| limit.count(7, *now, Some(super::burst(&rule))).ok().map(|e| e as i64))
                .collect();
            proptest::prop_assert_eq!(ours, nginx(rate as i64, i64::from(burst), &times));
        }
    }

    #[test]
    fn what_waits_and_what_does_not() {
        let limit = limit(10_000, 100);
        let delay = |delay| LimitReq { limit: 0, burst: 5, delay };
        assert_eq!(delay_ms(&limit, &delay(Some(0)), 2000), 200);
        assert_eq!(delay_ms(&limit, &delay(Some(1)), 2000), 100);
        assert_eq!(delay_ms(&limit, &delay(Some(2)), 2000), 0);
        assert_eq!(delay_ms(&limit, &delay(None), 5000), 0);
        let refuse = |retry_after_s| Some(Verdict::Refuse { retry_after_s });
        assert_eq!(refused(&limit, &delay(None), 5000), None);
        assert_eq!(refused(&limit, &delay(None), 6000), refuse(1));
        assert_eq!(refused(&super::tests::limit(16, 1), &delay(None), 6000), refuse(63));
    }

    #[test]
    fn a_full_table_forgets_the_key_that_was_asked_for_longest_ago() {
        let limit = limit(1000, 1);
        for key in 0..100 {
            assert_eq!(limit.count(key, 1000, Some(0)), Ok(0));
        }
        assert_eq!(limit.count(99, 1000, Some(0)), Err(1000), "known");
        assert_eq!(limit.count(98, 1000, Some(0)), Ok(0), "forgotten");
    }

    fn limit(rate_millis: u64, entries: usize) -> Limit {
        let key = Template::compile("$remote_addr").unwrap();
        let (name, rate_millis) = ("l".to_owned(), Some(rate_millis));
        Limit::new(&crate::config::Limit { name, key, rate_millis, entries })
    }
}
