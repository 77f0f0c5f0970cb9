//! Where the folder is, where requests say it. (nginx: variables in root and alias)

use std::path::PathBuf;

use crate::config::template::{Facts, Part, Template, Variable};

/// Where a request's folder is, or its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder that the operator names.
    pub(super) folder: PathBuf,
    /// The rest of the path, below it, as a client may have made it; `None` where none can.
    pub(super) below: Option<String>,
}

impl Place {
    /// Where this request's is; `None` where it has none.
    pub fn of(template: &Template, facts: &impl Facts) -> Option<Self> {
        let mut text = Vec::new();
        let mut parts = template.parts.iter();
        let mut rest = None;
        for part in parts.by_ref() {
            match part {
                Part::Literal(literal) => text.extend_from_slice(literal.as_bytes()),
                Part::Variable(Variable::Map(map)) if map.names_paths() => {
                    map.write(facts, &mut text)
                }
                Part::Variable(_) => {
                    rest = Some(part);
                    break;
                }
            }
            // What begins with no path at all is nowhere, whatever comes behind it.
            if text.is_empty() {
                return None;
            }
        }
        if rest.is_none() {
            return Some(Self { folder: String::from_utf8(text).ok()?.into(), below: None });
        }
        let known = text.len();
        for part in rest.into_iter().chain(parts) {
            match part {
                Part::Literal(literal) => text.extend_from_slice(literal.as_bytes()),
                Part::Variable(variable) => facts.write(variable, &mut text),
            }
        }
        let text = String::from_utf8(text).ok()?;
        let cut = text.get(..known)?.rfind('/')? + 1;
        let (folder, below) = text.split_at(cut);
        Some(Self { folder: folder.into(), below: Some(below.to_owned()) })
    }

    /// The same where it is a file: the folder that it is in, and the rest.
    pub fn of_file(template: &Template, facts: &impl Facts) -> Option<Self> {
        let place = Self::of(template, facts)?;
        if place.below.is_some() {
            return Some(place);
        }
        let name = place.folder.file_name()?.to_str()?.to_owned();
        Some(Self { folder: place.folder.parent()?.to_owned(), below: Some(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything is `x/../y`.
    struct Anything;

    impl Facts for Anything {
        fn write(&self, _: &Variable, out: &mut Vec<u8>) {
            out.extend_from_slice(b"x/../y");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_the_operator_wrote_is_one_part_and_what_requests_say_the_other() {
        //    template              folder      below
        check("/srv/$host",         "/srv/",    "x/../y");
        check("/srv/$host/public",  "/srv/",    "x/../y/public");
        check("/srv/www-$host/",    "/srv/",    "www-x/../y/");
        check("/$host$uri",         "/",        "x/../yx/../y");

        #[track_caller]
        fn check(template: &str, folder: &str, below: &str) {
            let place = Place::of(&Template::compile(template).unwrap(), &Anything);
            let expected = Place { folder: folder.into(), below: Some(below.to_owned()) };
            assert_eq!(place, Some(expected), "{template}");
        }
        let place = |text: &str| Place::of(&Template::compile(text).unwrap(), &Anything);
        assert_eq!(place("/srv/www"), Some(Place { folder: "/srv/www".into(), below: None }));
        assert_eq!(place("$host/a"), None);
    }
}
