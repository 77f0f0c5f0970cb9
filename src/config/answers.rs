//! Answers of our own, rewritten paths, and what is done to answers on their way out, checked.
//! (nginx: return, rewrite, add_header, error_page, proxy_redirect, proxy_cookie_*)

use std::ops::RangeInclusive;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::files::Expires;
use super::media_types::MediaTypes;
use super::pattern::Pattern;
use super::template::Template;

/// An answer of our own.
#[derive(Clone, Debug)]
pub struct Respond {
    /// Its status; 444 closes the connection without an answer.
    pub status: StatusCode,
    /// Its body; `None` is a line that says the status, or an error page.
    pub body: Option<Template>,
    /// Its `Content-Type`.
    pub content_type: ContentType,
}

/// The type of an answer of our own.
#[derive(Clone, Debug)]
pub enum ContentType {
    /// Always this one.
    Fixed(HeaderValue),
    /// What the path of the request says by its end.
    ByPath(Arc<MediaTypes>),
}

/// Another URL.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// `Location`.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// One rule of `rewrite`.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// When it counts; `None`: always.
    pub when: Option<When>,
    /// What the path must have; `None`: whatever it is.
    pub pattern: Option<Pattern>,
    /// What it does.
    pub does: Does,
    /// Fields that are added to its answer, in place of those of its route or site.
    pub add_header: Option<Arc<[AddedField]>>,
}

/// When a rule counts.
#[derive(Clone, Debug)]
pub enum When {
    /// Where this is neither empty nor `0`.
    True(Template),
    /// Where this kind of thing is at a path, or with `not` where it is not (nginx: if -f, -d, -e).
    There {
        /// Where.
        path: Template,
        /// What.
        kind: There,
        /// It is not there.
        not: bool,
    },
}

/// What is looked for at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Either.
    Either,
}

/// What a rule of `rewrite` does.
#[derive(Clone, Debug)]
pub enum Does {
    /// Puts another path in the place of the one that there is.
    Moves(Moved),
    /// Ends the rules, and the path stays as it is (nginx: break).
    Ends,
    /// Answers (nginx: return).
    Answers(Respond),
    /// Sends the client elsewhere (nginx: return).
    Redirects(Redirect),
}

/// Another path.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The path, decoded; or an absolute URL.
    pub path: Template,
    /// The query in front of the one that there is.
    pub args: Option<Template>,
    /// The query that there is stays.
    pub keeps_args: bool,
    /// What comes next.
    pub then: Then,
}

/// What follows a rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next rule.
    Next,
    /// A route is looked for.
    Last,
    /// This route answers.
    Break,
    /// The client is sent there, with this status.
    Redirect(StatusCode),
}

/// What is done to answers on their way out.
#[derive(Clone, Debug, Default)]
pub struct Finish {
    /// How long browsers may keep them, whatever the origin says.
    pub expires: Option<ExpiresOf>,
    /// Fields that are added.
    pub add_header: Vec<AddedField>,
    /// What answers instead.
    pub error_page: Vec<ErrorPage>,
    /// Answers of the upstream, too, may be replaced by `error_page`.
    pub intercept_errors: bool,
    /// What stands before a `Location` of ours that is a path (nginx: absolute_redirect).
    pub origin: Option<Origin>,
    /// Changes of `Location` and `Refresh`; the first that fits counts.
    pub location: Vec<Replacement>,
    /// Changes of `Domain` in `Set-Cookie`; the first that fits counts.
    pub cookie_domain: Vec<Replacement>,
    /// Changes of `Path` in `Set-Cookie`; the first that fits counts.
    pub cookie_path: Vec<Replacement>,
    /// Changes of other attributes of `Set-Cookie`; the first whose cookie it is counts.
    pub cookie_flags: Vec<CookieFlags>,
}

impl Finish {
    /// Whether there is anything to do to answers that are complete.
    pub fn is_needed(&self) -> bool {
        !(self.add_header.is_empty() && self.error_page.is_empty() && self.expires.is_none())
    }
}

/// What makes a URL of a path.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Scheme and host as they were asked for, and the port of the listener.
    Asked,
    /// This text.
    Written(Template),
}

/// How long browsers may keep answers (nginx: expires).
#[derive(Clone, Debug)]
pub enum ExpiresOf {
    /// The same for all.
    Fixed(Expires),
    /// Gives the words; where they mean nothing, nothing is said.
    Template(Template),
}

/// A field that is added to answers (nginx: add_header).
#[derive(Clone, Debug)]
pub struct AddedField {
    /// Its name.
    pub name: HeaderName,
    /// Its value; an empty one is not added.
    pub value: Template,
    /// The same, where it is the same for all requests.
    pub literal: Option<HeaderValue>,
    /// Whatever the status; else only with those that nginx lists.
    pub always: bool,
}

/// What answers instead of an answer with one of some statuses.
#[derive(Clone, Debug)]
pub struct ErrorPage {
    /// Which.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Where the answer is.
    pub to: PageAt,
    /// Its status.
    pub status: PageStatus,
}

/// Where the answer to an error is.
#[derive(Clone, Debug)]
pub enum PageAt {
    /// Under this URI of the site.
    Uri(Template),
    /// At this named route.
    Named(String),
    /// Somewhere else: the client is sent there.
    Url(Template),
}

/// Which status an error page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStatus {
    /// That of the error.
    Kept,
    /// That of the page (nginx: `=`).
    OfPage,
    /// This one (nginx: `=200`).
    Set(StatusCode),
}

/// What a text is compared with.
#[derive(Clone, Debug)]
pub enum Compared {
    /// It begins with this, or is it.
    Text(Template),
    /// It has this.
    Pattern(Pattern),
}

/// One text for another.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// What is replaced.
    pub from: Compared,
    /// What replaces it.
    pub to: Template,
}

/// Attributes of some cookies (nginx: proxy_cookie_flags).
#[derive(Clone, Debug)]
pub struct CookieFlags {
    /// The cookies.
    pub name: CookieName,
    /// `Secure`: set or removed, if said.
    pub secure: Option<bool>,
    /// `HttpOnly`: set or removed, if said.
    pub http_only: Option<bool>,
    /// `SameSite`: set to this or removed, if said.
    pub same_site: Option<Option<&'static str>>,
}

/// Which cookies are meant.
#[derive(Clone, Debug)]
pub enum CookieName {
    /// The one with this name; case does not count.
    Text(String),
    /// Those whose names have this.
    Pattern(Pattern),
}
