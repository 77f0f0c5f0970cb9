//! Words about the heads of messages, as they are written.

use http::HeaderName;

use crate::config::OddHeaders;
use crate::config::fault::Problem;
use crate::config::read::FromText;

/// The name of a field, and how it is spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldName {
    pub name: HeaderName,
    pub spelled: Box<str>,
}

/// `header_case`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderCase {
    Lower,
    Preserve,
}

/// `date`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateFrom {
    Origin,
    Now,
}

impl FromText for FieldName {
    fn from_text(text: &str) -> Result<Self, Problem> {
        HeaderName::from_text(text).map(|name| Self { name, spelled: text.into() })
    }
}

impl FromText for OddHeaders {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "pass" => Ok(Self::Pass),
            "underscores" => Ok(Self::Underscores),
            "drop" => Ok(Self::Drop),
            _ => {
                let reason = format!("expected `pass`, `underscores` or `drop`, found `{text}`");
                Err(Problem::new(reason).choices(text, &["pass", "underscores", "drop"]))
            }
        }
    }
}

impl FromText for HeaderCase {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "lower" => Ok(Self::Lower),
            "preserve" => Ok(Self::Preserve),
            _ => Err(Problem::new(format!("expected `lower` or `preserve`, found `{text}`"))
                .choices(text, &["lower", "preserve"])),
        }
    }
}

impl FromText for DateFrom {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "origin" => Ok(Self::Origin),
            "now" => Ok(Self::Now),
            _ => Err(Problem::new(format!("expected `origin` or `now`, found `{text}`"))
                .choices(text, &["origin", "now"])),
        }
    }
}
