//! A body that goes out, or is read from an upstream, no faster than it may. (nginx: limit_rate,
//! limit_rate_after, X-Accel-Limit-Rate, proxy_limit_rate)

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use crate::body::{Body, Error};
use crate::clock::Clock;
use crate::config::{Rate, RateLimit, units};
use crate::proxy::call::Call;
use crate::proxy::deliver::Answer;

impl Answer {
    /// Sends the body at `rate`, or at what the origin said instead. (nginx: the origin counts)
    pub(super) fn slow_down(&mut self, rate: Rate, clock: &Clock) {
        let rate = Rate { bytes_per_s: self.rate.unwrap_or(rate.bytes_per_s), ..rate };
        if rate.bytes_per_s == 0 || self.response.body().is_empty() {
            return;
        }
        slow_down(self.response.body_mut(), rate, clock);
    }
}

/// Has a body come at this rate, whoever reads it.
pub(in crate::proxy) fn slow_down(body: &mut Body, rate: Rate, clock: &Clock) {
    let whole = std::mem::take(body);
    *body = Body::stream(Paced::new(whole, rate, clock));
}

/// What a limit says for a request.
pub(in crate::proxy) fn rate(RateLimit { rate, by_request }: &RateLimit, call: &Call<'_>) -> Rate {
    let Some(template) = by_request else { return *rate };
    let mut text = Vec::new();
    template.write(call, &mut text);
    let said = str::from_utf8(&text).ok().and_then(|text| units::size(text).ok());
    Rate { bytes_per_s: said.unwrap_or(0), ..*rate }
}

struct Paced {
    inner: Body,
    /// Came in one piece with what has gone out.
    rest: Bytes,
    pace: Pace,
    clock: Clock,
    begun: Instant,
    wait: Option<Pin<Box<Sleep>>>,
}

/// How much may have gone out by when.
struct Pace {
    rate: Rate,
    sent: u64,
}

impl Paced {
    fn new(inner: Body, rate: Rate, clock: &Clock) -> Self {
        let (begun, clock) = (clock.instant(), clock.clone());
        Self { inner, rest: Bytes::new(), pace: Pace { rate, sent: 0 }, clock, begun, wait: None }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(wait) = &mut this.wait {
            ready!(wait.as_mut().poll(cx));
            this.wait = None;
        }
        if this.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            match frame?.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let elapsed = this.clock.instant().duration_since(this.begun);
        let now = this.pace.now(elapsed, this.rest.len());
        if now == 0 && !this.rest.is_empty() {
            let time = this.pace.wait(elapsed);
            let wait = this.wait.insert(Box::pin(tokio::time::sleep(time)));
            // It has just been made, so this only asks to be woken.
            if wait.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        this.pace.sent += now as u64;
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(now)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

impl Pace {
    /// Bytes of `there` that may go out after this time: a second's worth more than the time is
    /// for, as in nginx.
    fn now(&self, elapsed: Duration, there: usize) -> usize {
        let rate = u128::from(self.rate.bytes_per_s);
        let for_time = rate * (elapsed.as_millis() + 1000) / 1000;
        let left = (for_time + u128::from(self.rate.after_bytes)).saturating_sub(self.sent.into());
        // A byte at a time would cost a timer each.
        let is_worth_it = left >= self.step() || left >= there as u128;
        if is_worth_it { usize::try_from(left).unwrap_or(usize::MAX).min(there) } else { 0 }
    }

    /// Until there is a step's worth to send, beginning now at `elapsed`.
    fn wait(&self, elapsed: Duration) -> Duration {
        let rate = u128::from(self.rate.bytes_per_s);
        let next =
            (u128::from(self.sent) + self.step()).saturating_sub(u128::from(self.rate.after_bytes));
        let at_ms = (next * 1000).div_ceil(rate).saturating_sub(1000);
        let wait_ms = at_ms.saturating_sub(elapsed.as_millis()).max(1);
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(u64::MAX))
    }

    /// What goes out at once: a tenth of a second's worth.
    fn step(&self) -> u128 {
        u128::from(self.rate.bytes_per_s / STEPS_PER_S).max(1)
    }
}

const STEPS_PER_S: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn so_much_may_be_out_by_then() {
        //    rate   after   elapsed_ms   sent     expected
        check(1000,  0,      0,           0,       1000);
        check(1000,  0,      0,           1000,    0);
        check(1000,  0,      99,          1000,    0);
        check(1000,  0,      100,         1000,    100);
        check(1000,  0,      1000,        1500,    500);
        check(1000,  5000,   0,           0,       6000);
        check(1,     0,      0,           1,       0);
        check(1,     0,      1000,        1,       1);
        check(u64::MAX, u64::MAX, 5000,   7,       1 << 20);

        #[track_caller]
        fn check(rate: u64, after: u64, elapsed_ms: u64, sent: u64, expected: usize) {
            let pace = Pace { rate: Rate { bytes_per_s: rate, after_bytes: after }, sent };
            let elapsed = Duration::from_millis(elapsed_ms);
            assert_eq!(pace.now(elapsed, 1 << 20), expected);
            if expected == 0 {
                let then = elapsed + pace.wait(elapsed);
                assert!(pace.now(then, 1 << 20) > 0, "nothing after the wait");
            }
        }
    }
}
