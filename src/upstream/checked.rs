//! What a peer's checks say about it; pure. (nginx: health_check, fails and passes)
//!
//! ```text
//!              a check passes
//!   checking -----------------> healthy <------------.
//!       |                          | fails in a row  | passes in a row
//!       '----> unhealthy <---------'-----------------'
//!   fails in a row
//! ```

use std::sync::Arc;

use crate::config::HealthCheck;

/// What the checks of one peer came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    pub(super) verdict: Verdict,
    /// Results in a row that speak against the verdict.
    against: u32,
    /// Checks that ended.
    pub(super) checks: u64,
    /// Those that failed.
    pub(super) fails: u64,
    /// Times that it became unhealthy.
    pub(super) unhealthy: u64,
    /// Whether the last one passed; `None` before the first.
    pub(super) last_passed: Option<bool>,
    /// Why the last that failed did.
    pub(super) reason: Option<Arc<str>>,
}

/// What the checks of a peer say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    #[default]
    Checking,
    /// Requests may go there.
    Healthy,
    /// No request goes there.
    Unhealthy,
}

impl Checked {
    /// Takes a result in. Returns the verdict if this changed it.
    pub(super) fn note(
        &mut self,
        result: Result<(), String>,
        config: &HealthCheck,
    ) -> Option<Verdict> {
        let passed = result.is_ok();
        self.checks += 1;
        self.last_passed = Some(passed);
        if let Err(reason) = result {
            self.fails += 1;
            self.reason = Some(reason.into());
        }
        let (verdict, wanted) = match (self.verdict, passed) {
            (Verdict::Checking, true) => (Verdict::Healthy, 1),
            (Verdict::Unhealthy, true) => (Verdict::Healthy, config.passes),
            (Verdict::Checking | Verdict::Healthy, false) => (Verdict::Unhealthy, config.fails),
            (Verdict::Healthy, true) | (Verdict::Unhealthy, false) => {
                self.against = 0;
                return None;
            }
        };
        self.against = self.against.saturating_add(1);
        if self.against < wanted {
            return None;
        }
        self.against = 0;
        self.verdict = verdict;
        self.unhealthy += u64::from(verdict == Verdict::Unhealthy);
        Some(verdict)
    }

    /// Whether requests may go there; before the first check that passes only if it is not
    /// `mandatory`.
    pub(super) fn usable(&self, mandatory: bool) -> bool {
        match self.verdict {
            Verdict::Checking => !mandatory,
            Verdict::Healthy => true,
            Verdict::Unhealthy => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::health_check;
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn a_verdict_takes_as_many_results_in_a_row_as_configured() {
        //    fails passes results    usable       why
        check(1,    1,     "-",       "+n",        "nothing known: unless it is mandatory");
        check(1,    1,     "p",       "++",        "passed");
        check(1,    3,     "p",       "++",        "the first one is enough");
        check(1,    1,     "f",       "nn",        "failed");
        check(3,    1,     "ff",      "+n",        "two of three");
        check(3,    1,     "fff",     "nn",        "three");
        check(3,    1,     "pffpff",  "++",        "not in a row");
        check(3,    1,     "pfff",    "nn",        "in a row");
        check(1,    2,     "fp",      "nn",        "one of two");
        check(1,    2,     "fpfp",    "nn",        "not in a row");
        check(1,    2,     "fpp",     "++",        "two");
    }

    #[track_caller]
    fn check(fails: u32, passes: u32, results: &str, expected: &str, why: &str) {
        let config = HealthCheck { fails, passes, ..health_check() };
        let mut checked = Checked::default();
        for result in results.chars().filter(|result| *result != '-') {
            let result = if result == 'p' { Ok(()) } else { Err("refused".to_owned()) };
            checked.note(result, &config);
        }
        let usable = [false, true].map(|m| if checked.usable(m) { '+' } else { 'n' });
        assert_eq!(usable.iter().collect::<String>(), expected, "{why}");
    }
}
