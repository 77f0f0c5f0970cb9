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

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Uri, header};

use super::call::Call;
use super::deliver::Answer;
use super::error::Error;
use super::finish::{self, Page};
use super::own;
use super::route::{self, Route};
use super::way::{Way, escaped, escaped_args, escaped_path};
use super::{Sent, Worker, outgoing};
use crate::config::answers::{Rewrite, Then};
use crate::config::template::{Facts, Template, Variable};

/// Where a request goes on inside its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With this path, decoded and without dot segments, and this query.
    Uri(String, Option<String>),
    /// At the route of this name, as it is.
    Named(String),
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
    match journey.enter() {
        Ok(None) => journey.answer(sent).await,
        Ok(Some(answer)) => answer,
        Err(error) => journey.conclude(Err(error), sent).await,
    }
}

/// Goes on at `next` with a request that a route could not answer.
pub(super) async fn go_on(call: Call<'_>, next: Next, sent: &mut Sent<'_>) -> Answer {
    let mut journey = Journey::at(call);
    match journey.go_on(next) {
        Ok(None) => journey.answer(sent).await,
        Ok(Some(answer)) => answer,
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
    /// one of them sends the client away.
    pub(super) fn enter(&mut self) -> Result<Option<Answer>, Error> {
        let site = Arc::clone(self.from.site);
        if let (_, Some(answer)) = self.rewrite(&site.rewrite)? {
            return Ok(Some(answer));
        }
        self.find_and_rewrite()
    }

    fn find_and_rewrite(&mut self) -> Result<Option<Answer>, Error> {
        loop {
            self.rounds += 1;
            if self.rounds > ROUNDS_MAX {
                return Err(Error::Cycle);
            }
            self.find()?;
            let route = Arc::clone(&self.route);
            match self.rewrite(&route.settings.rewrite)? {
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
        let Some((route, pattern)) = site.find_with(&self.path) else {
            self.route = Arc::clone(&site.base);
            return Err(Error::NotFound);
        };
        self.route = Arc::clone(route);
        way.captured.extend(pattern.and_then(|pattern| pattern.captures(&self.path)));
        Ok(())
    }

    /// Applies rules in turn; how it goes on, and an answer where one sends the client away.
    fn rewrite(&mut self, rules: &[Rewrite]) -> Result<(Goes, Option<Answer>), Error> {
        let mut goes = Goes::On;
        for rule in rules {
            if let Some(when) = &rule.when
                && !when.is_true(&self.call(), &mut Vec::new())
            {
                continue;
            }
            let Some(captured) = rule.pattern.captures(&self.path) else { continue };
            Arc::make_mut(&mut self.way).captured.push(captured);
            if let Then::Redirect(status) = rule.then {
                let location = self.location(rule);
                let answer = own::redirected(&self.call(), status, location);
                return Ok((Goes::On, Some(finish::finish(&self.call(), answer))));
            }
            let path = text(&rule.path, &self.call());
            let args = self.args(rule);
            self.move_to(path, args)?;
            match rule.then {
                Then::Break => return Ok((Goes::Here, None)),
                Then::Last => return Ok((Goes::Again, None)),
                // All rules are tried, then a route is looked for.
                Then::Next | Then::Redirect(_) => goes = Goes::Again,
            }
        }
        Ok((goes, None))
    }

    /// The query that a rule makes: its own, then the one that there is.
    fn args(&self, rule: &Rewrite) -> Option<String> {
        let own = rule.args.as_ref().map(|args| text(args, &InArgs(&self.call())));
        let old = self.request.uri.query().filter(|old| rule.keeps_args && !old.is_empty());
        match (own, old) {
            (Some(own), Some(old)) => Some(format!("{own}&{old}")),
            (Some(own), _) => Some(own),
            (None, old) => old.map(str::to_owned),
        }
    }

    fn location(&self, rule: &Rewrite) -> String {
        let mut location = text(&rule.path, &InPath(&self.call()));
        if let Some(args) = self.args(rule) {
            location.push('?');
            location.push_str(&args);
        }
        location
    }

    /// Puts another target in the place of the one that there is.
    fn move_to(&mut self, path: String, args: Option<String>) -> Result<(), Error> {
        let path = route::without_detours(path.as_bytes()).ok_or(Error::Cycle)?;
        let mut target = escaped_path(&path);
        if let Some(args) = args {
            target.push('?');
            target.push_str(&escaped(args.as_bytes(), b"#"));
        }
        if target.len() > self.from.worker.proxy.limits.uri_bytes_max.max(TARGET_BYTES_MIN) {
            return Err(Error::UriTooLong);
        }
        let uri: Uri = target.parse().map_err(|_| Error::BadRequest("rewritten target"))?;
        let sent = std::mem::replace(&mut self.request.uri, uri);
        Arc::make_mut(&mut self.way).sent.get_or_insert(sent);
        self.path = path;
        Ok(())
    }

    /// Routes again.
    fn go_on(&mut self, next: Next) -> Result<Option<Answer>, Error> {
        match next {
            Next::Uri(path, args) => {
                self.move_to(path, args)?;
                self.enter()
            }
            Next::Named(name) => {
                self.rounds += 1;
                let route = self.from.site.named(&name).filter(|_| self.rounds <= ROUNDS_MAX);
                self.route = Arc::clone(route.ok_or(Error::Cycle)?);
                let way = Arc::make_mut(&mut self.way);
                way.is_rewritten_here = false;
                way.destination = None;
                let route = Arc::clone(&self.route);
                match self.rewrite(&route.settings.rewrite)? {
                    (_, Some(answer)) => Ok(Some(answer)),
                    (Goes::Again, None) => self.find_and_rewrite(),
                    (Goes::On | Goes::Here, None) => {
                        self.choose_destination();
                        Ok(None)
                    }
                }
            }
        }
    }

    async fn answer(mut self, sent: &mut Sent<'_>) -> Answer {
        loop {
            let result = Worker::let_in(self.call(), sent).await;
            self.from = sent.known(self.from);
            let Err(Error::Inside(next)) = result else {
                return self.conclude(result, sent).await;
            };
            match self.go_on(*next) {
                Ok(None) => {}
                Ok(Some(answer)) => return answer,
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
        let (request, failed) = (&mut self.request, page.status);
        if request.method != Method::HEAD {
            request.method = Method::GET;
        }
        for name in outgoing::CONDITIONAL.iter().chain(&OF_A_BODY) {
            request.headers.remove(name);
        }
        Arc::make_mut(&mut self.way).is_for_error = true;
        sent.body = None;
        let from = Arc::clone(&self.route);
        let mut going = self.go_on(page.next);
        let answer = loop {
            match going {
                Ok(None) => {}
                Ok(Some(answer)) => return answer,
                Err(error) => break Err(error),
            }
            let result = Worker::let_in(self.call(), sent).await;
            self.from = sent.known(self.from);
            let Err(Error::Inside(next)) = result else { break result };
            going = self.go_on(*next);
        };
        match answer {
            Ok(mut answer) => {
                let own = answer.response.status();
                *answer.response.status_mut() = page.as_status.unwrap_or(own);
                answer.response.headers_mut().extend(page.told);
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

/// How a request goes on behind some rules.
enum Goes {
    /// As it was.
    On,
    /// A route is looked for.
    Again,
    /// This route answers.
    Here,
}

fn text(template: &Template, facts: &impl Facts) -> String {
    let mut out = Vec::new();
    template.write(facts, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The facts of a request as they stand in the path of a URL.
struct InPath<'a>(&'a Call<'a>);

impl Facts for InPath<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        write_escaped(self.0, variable, (self, |text| escaped(text, b"#%?")), out);
    }
}

/// The facts of a request as they stand in a query.
struct InArgs<'a>(&'a Call<'a>);

impl Facts for InArgs<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        write_escaped(self.0, variable, (self, escaped_args), out);
    }
}

/// What is decoded is escaped; all else stands in the request as it can stand in a URL.
fn write_escaped(
    call: &Call<'_>,
    variable: &Variable,
    (facts, escape): (&dyn Facts, impl Fn(&[u8]) -> String),
    out: &mut Vec<u8>,
) {
    let start = out.len();
    match variable {
        Variable::Map(map) => map.write_value(call, facts, out),
        Variable::Uri | Variable::Capture(_) | Variable::Named(_) => {
            call.write(variable, out);
            let text = escape(&out[start..]);
            out.truncate(start);
            out.extend_from_slice(text.as_bytes());
        }
        other => call.write(other, out),
    }
}

/// What a request without a body does not say.
const OF_A_BODY: [header::HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_TYPE, header::EXPECT];

/// Times that a route is looked for (nginx has the same).
const ROUNDS_MAX: usize = 10;
/// What a rewritten target may always be long.
const TARGET_BYTES_MIN: usize = 8 << 10;
