//! A request that comes while what it wants is on its way.

use std::sync::Arc;

use http::StatusCode;

use super::deliver::{self, Answer, Served, Source};
use super::error::Error;
use super::extent::Extent;
use super::fetch::Fetched;
use super::partial::{self, Wants};
use super::step::{Step, Taken, answered};
use crate::cache::fill::{Fill, Unfollowable};
use crate::semantics::fields::Names;
use crate::semantics::reason::Reason;
use crate::semantics::status::Handling;

impl Step<'_> {
    /// Follows a fill, or asks the origin for the range that would be long in coming.
    pub(super) async fn join(self, fill: Arc<Fill>) -> Result<Taken, Error> {
        let wants = partial::wants_of(&self.call.view(), self.cache, &fill);
        if self.is_far(&fill, &wants)
            && let Some(answer) = self.ask_ahead(&fill).await?
        {
            return Ok(answered(answer));
        }
        let Some(first) = wants.first else { return Ok(answered(self.follow(fill))) };
        match fill.join(first) {
            Ok(held) => {
                let answer = self.follow(fill);
                // Held until the answer's own followers had their places.
                drop(held);
                Ok(answered(answer))
            }
            Err(Unfollowable::Broken) => Ok(Taken::LookAgain),
            Err(Unfollowable::Gone) => {
                let permit = self.cache.zone.fetch_beside(self.key.primary);
                self.fetch(permit, None).await.map(answered)
            }
        }
    }

    fn follow(self, fill: Arc<Fill>) -> Answer {
        let served = Served {
            stored: Arc::clone(&fill.stored),
            names: Names::ANY,
            source: Source::Fill(fill),
            status: self.fetched_status(),
            handling: Handling {
                forwarded_status: None,
                collapsed: true,
                reason: Reason::Collapsed,
                ..self.handling()
            },
        };
        deliver::stored(&self.call.view(), self.cache, served)
    }

    fn is_far(&self, fill: &Fill, wants: &Wants) -> bool {
        let now = self.call.view().worker.proxy.clock.instant();
        !self.extent.is_slice() && !fill.has_no_ranges() && fill.is_far(wants.furthest, now)
    }

    /// Asks for the range alone, beside the fill; nothing where the origin has a better answer
    /// under way: it knows no ranges, or does not answer just now.
    async fn ask_ahead(&self, fill: &Fill) -> Result<Option<Answer>, Error> {
        let permit = self.cache.zone.fetch_beside(self.key.primary);
        let step = Step { lookup: self.lookup.clone(), extent: Extent::AsAsked, ..*self };
        let (handling, status) = (step.handling(), step.fetched_status());
        let report = step.begin(permit, Some(Reason::RangeAhead), status)?.run().await;
        match &report.fetched {
            Fetched::Pass(response, _) if is_of_ranges(response.status()) => {
                step.report(report, handling, status).map(Some)
            }
            Fetched::Pass(response, _) => {
                if response.status() == StatusCode::OK {
                    fill.note_no_ranges();
                }
                Ok(None)
            }
            Fetched::Stream { .. } | Fetched::Freshened(_) | Fetched::Failed(_) => Ok(None),
        }
    }
}

fn is_of_ranges(status: StatusCode) -> bool {
    matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE)
}
