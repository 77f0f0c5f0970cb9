//! Where a request goes inside its site: rewritten, routed, answered, and perhaps sent on to another
//! route of the site. (nginx: rewrite, try_files, error_page, internal redirects)
//!
//! ```text
//!  enter   the site's rules, a route, its rules; again where they say so       500 after ten times
//!    |
//!  answer  as any other request
//!    |-- `Error::Inside(next)`: go on there, with the body that nobody took     500 after ten times
//!    |-- `error_page` lists the status: answered there, once, with GET
//!    v
//!  finish  the fields that the last route adds
//! ```
//!
//! A request whose path alone says it all never comes here.

mod rules;

use std::sync::Arc;

use http::request::Parts;
use http::{Method, header};

use super::call::Call;
use super::deliver::Answer;
use super::error::Error;
use super::finish::{self, Page};
use super::route::Route;
use super::way::Way;
use super::{Sent, Worker, outgoing};
use rules::Goes;

/// Where a request goes on inside its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With this path, decoded and without dot segments, and this query.
    Uri(String, Option<String>),
    /// At the route of this name, as it is.
    Named(String),
    /// At one of these, as a request that reads.
    Read(Box<Next>),
}

/// A request on its way through its site.
pub(super) struct Journey<'a> {
    /// Everything about it but what changes on the way.
    from: Call<'a>,
    request: Parts,
    path: String,
    route: Arc<Route>,
    way: Arc<Way>,
    /// How often a route was looked for.
    rounds: usize,
}

/// Answers a request of a site or route where more than the path counts.
pub(super) async fn answer(call: Call<'_>, sent: &mut Sent<'_>) -> Answer {
    let mut journey = Journey::new(call);
    match journey.enter().await {
        Ok(None) => journey.answer(sent).await,
        Ok(Some(answer)) => journey.conclude(Ok(answer), sent).await,
        Err(error) => journey.conclude(Err(error), sent).await,
    }
}

/// Goes on at `next` with a request that a route could not answer.
pub(super) async fn go_on(call: Call<'_>, next: Next, sent: &mut Sent<'_>) -> Answer {
    let mut journey = Journey::at(call);
    match journey.go_on(next).await {
        Ok(None) => journey.answer(sent).await,
        Ok(Some(answer)) => journey.conclude(Ok(answer), sent).await,
        Err(error) => journey.conclude(Err(error), sent).await,
    }
}

/// Answers with an error page in the place of what a route answered.
pub(super) async fn page(call: Call<'_>, page: Page, sent: &mut Sent<'_>) -> Answer {
    Journey::at(call).page(page, sent).await
}

impl<'a> Journey<'a> {
    /// A request that has not been routed.
    pub(super) fn new(from: Call<'a>) -> Self {
        let mut journey = Self::at(from);
        journey.route = Arc::clone(&from.site.base);
        journey.way = Arc::new(Way::default());
        let captured = from.site.captured_of(from.host);
        Arc::make_mut(&mut journey.way).captured.extend(captured);
        journey
    }

    /// One that has.
    fn at(from: Call<'a>) -> Self {
        Self {
            from,
            request: from.request.clone(),
            path: from.path.to_owned(),
            route: Arc::clone(from.route),
            way: from.way.cloned().unwrap_or_default(),
            rounds: 0,
        }
    }

    /// The request as it is by now.
    pub(super) fn call(&self) -> Call<'_> {
        Call {
            request: &self.request,
            path: &self.path,
            route: &self.route,
            way: Some(&self.way),
            ..self.from
        }
    }

    /// Finds the route that answers, as the rules of the site and of routes have it. An answer where
    /// one of them gives it.
    pub(super) async fn enter(&mut self) -> Result<Option<Answer>, Error> {
        let site = Arc::clone(self.from.site);
        if let (_, Some(answer)) = self.rewrite(&site.rewrite).await? {
            return Ok(Some(answer));
        }
        self.find_and_rewrite().await
    }

    async fn find_and_rewrite(&mut self) -> Result<Option<Answer>, Error> {
        loop {
            self.rounds += 1;
            if self.rounds > ROUNDS_MAX {
                return Err(Error::Cycle);
            }
            self.find()?;
            let route = Arc::clone(&self.route);
            match self.rewrite(&route.settings.rewrite).await? {
                (_, Some(answer)) => return Ok(Some(answer)),
                (Goes::Again, None) => {}
                (Goes::On, None) => break,
                (Goes::Here, None) => {
                    Arc::make_mut(&mut self.way).is_rewritten_here = true;
                    break;
                }
            }
        }
        self.choose_destination();
        Ok(None)
    }

    fn choose_destination(&mut self) {
        if let Some(destination) = self.call().destination() {
            Arc::make_mut(&mut self.way).destination = Some(destination);
        }
    }

    fn find(&mut self) -> Result<(), Error> {
        let site = self.from.site;
        let way = Arc::make_mut(&mut self.way);
        way.is_rewritten_here = false;
        way.destination = None;
        way.added = None;
        let Some((route, pattern)) = site.find_with(&self.path) else {
            self.route = Arc::clone(&site.base);
            return Err(Error::NotFound);
        };
        self.route = Arc::clone(route);
        way.captured.extend(pattern.and_then(|pattern| pattern.captures(&self.path)));
        // nginx: what was rewritten, by whatever, is no request of a client any more.
        let is_internal = way.sent.is_some();
        if route.settings.internal && !is_internal { Err(Error::NotFound) } else { Ok(()) }
    }

    /// Routes again.
    async fn go_on(&mut self, next: Next) -> Result<Option<Answer>, Error> {
        let next = match next {
            Next::Read(next) => {
                self.only_read();
                *next
            }
            other => other,
        };
        match next {
            Next::Read(_) => Err(Error::Cycle),
            Next::Uri(path, args) => {
                self.move_to(path, args)?;
                self.enter().await
            }
            Next::Named(name) => {
                self.rounds += 1;
                let route = self.from.site.named(&name).filter(|_| self.rounds <= ROUNDS_MAX);
                self.route = Arc::clone(route.ok_or(Error::Cycle)?);
                let way = Arc::make_mut(&mut self.way);
                way.is_rewritten_here = false;
                way.destination = None;
                way.added = None;
                let route = Arc::clone(&self.route);
                match self.rewrite(&route.settings.rewrite).await? {
                    (_, Some(answer)) => Ok(Some(answer)),
                    (Goes::Again, None) => self.find_and_rewrite().await,
                    (Goes::On | Goes::Here, None) => {
                        self.choose_destination();
                        Ok(None)
                    }
                }
            }
        }
    }

    /// Makes it a request that reads, without a body.
    fn only_read(&mut self) {
        if self.request.method != Method::HEAD {
            self.request.method = Method::GET;
        }
        for name in &OF_A_BODY {
            self.request.headers.remove(name);
        }
    }

    async fn answer(mut self, sent: &mut Sent<'_>) -> Answer {
        loop {
            let result = Worker::let_in(self.call(), sent).await;
            self.from = sent.known(self.from);
            let Err(Error::Inside(next)) = result else {
                return self.conclude(result, sent).await;
            };
            match self.go_on(*next).await {
                Ok(None) => {}
                Ok(Some(answer)) => return self.conclude(Ok(answer), sent).await,
                Err(error) => return self.conclude(Err(error), sent).await,
            }
        }
    }

    /// The answer as it goes out, or the page that stands in for it.
    async fn conclude(self, result: Result<Answer, Error>, sent: &mut Sent<'_>) -> Answer {
        match finish::page_for(&self.call(), &result) {
            Some(page) => Box::pin(self.page(page, sent)).await,
            None => finish::finish(&self.call(), result),
        }
    }

    /// Answers with an error page. What goes wrong on the way there is answered as if there were
    /// none, so that this happens once for a request.
    async fn page(mut self, page: Page, sent: &mut Sent<'_>) -> Answer {
        let failed = page.status;
        self.only_read();
        for name in &outgoing::CONDITIONAL {
            self.request.headers.remove(name);
        }
        Arc::make_mut(&mut self.way).is_for_error = true;
        sent.body = None;
        let from = Arc::clone(&self.route);
        let mut going = self.go_on(page.next).await;
        let answer = loop {
            match going {
                Ok(None) => {}
                // nginx: who is sent away by a rule is not told of the error.
                Ok(Some(answer)) if answer.response.status().is_redirection() => {
                    return finish::finish(&self.call(), Ok(answer));
                }
                Ok(Some(answer)) => break Ok(answer),
                Err(error) => break Err(error),
            }
            let result = Worker::let_in(self.call(), sent).await;
            self.from = sent.known(self.from);
            let Err(Error::Inside(next)) = result else { break result };
            going = self.go_on(*next).await;
        };
        match answer {
            Ok(mut answer) => {
                let own = answer.response.status();
                let status = page.as_status.unwrap_or(own);
                *answer.response.status_mut() = status;
                let fields = answer.response.headers_mut();
                if !status.is_success() {
                    // nginx: they are the page's, and there is nothing of what was asked for.
                    fields.remove(header::LAST_MODIFIED);
                    fields.remove(header::ACCEPT_RANGES);
                }
                fields.extend(page.told);
                finish::finish(&self.call(), Ok(answer))
            }
            Err(error) => {
                tracing::warn!(?error, status = failed.as_u16(), "no error page came");
                self.route = from;
                let mut answer = finish::finish(&self.call(), Err(Error::Plain(failed)));
                answer.response.headers_mut().extend(page.told);
                answer
            }
        }
    }
}

/// What a request without a body does not say.
const OF_A_BODY: [header::HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_TYPE, header::EXPECT];

/// Times that a route is looked for (nginx has the same).
const ROUNDS_MAX: usize = 10;
