//! Content codings, and which of them a client gets. (RFC 9110 sections 8.4.1 and 12.5.3)

use http::{HeaderMap, HeaderValue, header};

use super::directives::members;
use super::selecting::weight;

/// A content coding that Larder can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952
    Gzip,
    /// RFC 7932
    Brotli,
    /// RFC 8878
    Zstd,
}

/// What a request says in `Accept-Encoding`: weights in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// In the order of `Coding::ALL`; 0 where one is not to be used.
    codings: [u16; Coding::ALL.len()],
    /// Of the body as it is. 1 where the request does not name it: any coding is better then.
    identity: u16,
}

impl Coding {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its name in `Content-Encoding`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// How the names of files end that are coded like this.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
        }
    }

    /// The value of `Content-Encoding`.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.token())
    }
}

impl Accepted {
    /// What this request accepts. Without the field, or where it cannot be read, nothing is coded.
    pub fn of(request: &HeaderMap) -> Self {
        let mut codings = [None; Coding::ALL.len()];
        let (mut identity, mut others) = (None, None);
        let lines = request.get_all(header::ACCEPT_ENCODING).into_iter();
        for member in lines.flat_map(|line| members(line.as_bytes())) {
            let Some((name, weight)) = weighted(member) else { continue };
            let is = |token: &str| name.eq_ignore_ascii_case(token.as_bytes());
            let known = Coding::ALL.iter().position(|coding| is(coding.token()));
            match known.or_else(|| is("x-gzip").then_some(0)) {
                Some(at) => codings[at] = Some(weight),
                None if is("identity") => identity = Some(weight),
                None if name == b"*" => others = Some(weight),
                None => {}
            }
        }
        let codings = codings.map(|weight| weight.or(others).unwrap_or(0));
        Self { codings, identity: identity.or(others).unwrap_or(1) }
    }

    /// The best of `offered`, which are in order of preference among equals; `None` where the
    /// body goes as it is. It does too where a client refuses everything there is: that is of more
    /// use than 406.
    pub fn choose(&self, offered: &[Coding]) -> Option<Coding> {
        let weight = |coding: Coding| {
            let at = Coding::ALL.iter().position(|known| *known == coding);
            at.map_or(0, |at| self.codings[at])
        };
        let usable = offered.iter().copied().filter(|coding| weight(*coding) > 0);
        // The first of the best: `max_by_key` would give the last.
        let best = usable.rev().max_by_key(|coding| weight(*coding))?;
        (weight(best) >= self.identity).then_some(best)
    }
}

/// A name with its weight, which is whole where none is said.
fn weighted(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.splitn(2, |byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    let weight = parts.next().map_or(Some(1000), weight)?;
    Some((name, weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::fields::tests::fields;
    use Coding::{Brotli, Gzip, Zstd};

    #[rustfmt::skip]
    #[test]
    fn the_best_that_is_taken_and_offered() {
        //    request                              offered            expected
        check("x: y",                              &[Gzip],           None,         "nothing is said");
        check("accept-encoding: ",                 &[Gzip],           None,         "nothing is taken");
        check("accept-encoding: gzip",             &[Brotli, Gzip],   Some(Gzip),   "the one that is taken");
        check("accept-encoding: GZIP",             &[Gzip],           Some(Gzip),   "without case");
        check("accept-encoding: x-gzip",           &[Gzip],           Some(Gzip),   "its old name");
        check("accept-encoding: gzip, br, zstd",   &[Zstd, Brotli],   Some(Zstd),   "our order among equals");
        check("accept-encoding: gzip, br, zstd",   &[Brotli, Zstd],   Some(Brotli), "our order among equals");
        check("accept-encoding: zstd;q=0.5, br",   &[Zstd, Brotli],   Some(Brotli), "the client's weights before");
        check("accept-encoding: br;q=0",           &[Brotli],         None,         "not to be used");
        check("accept-encoding: *",                &[Zstd, Gzip],     Some(Zstd),   "any");
        check("accept-encoding: *, zstd;q=0",      &[Zstd, Gzip],     Some(Gzip),   "any but one");
        check("accept-encoding: *;q=0, gzip",      &[Zstd, Gzip],     Some(Gzip),   "one only");
        check("accept-encoding: identity, gzip;q=0.5", &[Gzip],       None,         "better as it is");
        check("accept-encoding: identity;q=0.5, gzip", &[Gzip],       Some(Gzip),   "better coded");
        check("accept-encoding: identity;q=0, br", &[Gzip],           None,         "nothing fits: as it is");
        check("accept-encoding: gzip;q=0.001",     &[Gzip],           Some(Gzip),   "hardly, but named");
        check("accept-encoding: gzip;q=2, br",     &[Gzip, Brotli],   Some(Brotli), "no weight");
        check("accept-encoding: gzip;level=9",     &[Gzip],           None,         "no weight");
        check("accept-encoding: deflate, compress", &[Gzip],          None,         "others");
        check("accept-encoding: gzip | accept-encoding: br;q=0.9", &[Brotli, Gzip], Some(Gzip), "lines are one list");
    }

    #[track_caller]
    fn check(request: &str, offered: &[Coding], expected: Option<Coding>, why: &str) {
        assert_eq!(Accepted::of(&fields(request)).choose(offered), expected, "{request}: {why}");
    }
}
