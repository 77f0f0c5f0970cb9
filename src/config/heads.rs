//! What the heads of messages look like that go out, checked. (nginx: server_tokens)

use http::HeaderValue;

use crate::spelling::Spelling;

/// What the heads of a route's messages look like.
#[derive(Clone, Debug)]
pub struct Heads {
    /// Over HTTP/1 the names of fields are spelled as they came, and as the operator wrote them, which
    /// this is; `None`: they are lower case.
    pub spelling: Option<Spelling>,
    /// Answers have `Cache-Status`.
    pub cache_status: bool,
    /// What is passed on says so in `Via`.
    pub via: bool,
    /// `Server` of answers in place of the origin's; `None`: that one stays.
    pub server: Option<HeaderValue>,
    /// `Date` of answers is the present time in place of the origin's.
    pub date_now: bool,
}

impl Heads {
    /// Whether answers need something of it at the end.
    pub fn changes_answers(&self) -> bool {
        self.spelling.is_some() || self.server.is_some() || self.date_now || !self.cache_status
    }
}
