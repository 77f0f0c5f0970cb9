//! From a tree of values to values of the types that are wanted; what does not fit is reported.

use std::time::Duration;

use super::fault::Problem;
use super::report::{Report, Span};
use super::template::Template;
use super::tree::{Entry, Node, Value};
use super::units;

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// What can be read from a value of a file.
pub(crate) trait FromNode: Sized {
    /// `None` once the report says what is wrong.
    fn from_node(node: &Node, report: &mut Report) -> Option<Self>;

    /// The keys of the tables in it, as `zone.NAME.path`.
    #[cfg(test)]
    fn keys(_path: &str, _out: &mut Vec<String>) {}
}

/// What can be read from a string.
pub(crate) trait FromText: Sized {
    /// # Errors
    /// Report the problem.
    fn from_text(text: &str) -> Result<Self, Problem>;
}

/// A table whose keys are known.
pub(crate) trait Table: Sized {
    /// Its keys.
    const KEYS: &'static [&'static str];

    /// Its settings, and those of `outer` for the keys that it leaves out.
    fn over(&self, outer: &Self) -> Self;
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    /// Without those that could not be read.
    pub items: Vec<At<T>>,
    /// Some could not be read.
    pub broken: bool,
}

/// `[key.NAME]`: tables under names that the operator chooses.
#[derive(Clone, Debug)]
pub(crate) struct Named<T>(pub Vec<(At<String>, At<T>)>);

/// `{ NAME = value }` in the order it is written.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<K, V>(pub Vec<(At<K>, At<V>)>);

/// `"off"`, or a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OrOff<T> {
    Off,
    On(T),
}

/// A duration that is not 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeout(pub Duration);

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub u64);

/// A number of bytes, or a text with variables that gives one.
#[derive(Clone, Debug)]
pub(crate) enum SizeOf {
    Fixed(Size),
    Template(Template),
}

/// Declares a table as it is written: a struct whose fields are the keys, all of them optional but
/// those in parentheses; of those behind a semicolon one must be there.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident ($($required:ident),*) {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: Option<$crate::config::read::At<$type>>,)+
        }

        impl $crate::config::read::Table for $name {
            const KEYS: &'static [&'static str] =
                &[$($crate::config::read::key(stringify!($field))),+];

            fn over(&self, outer: &Self) -> Self {
                Self { $($field: self.$field.as_ref().or(outer.$field.as_ref()).cloned(),)+ }
            }
        }

        impl $crate::config::read::FromNode for $name {
            fn from_node(
                node: &$crate::config::tree::Node,
                report: &mut $crate::config::report::Report,
            ) -> Option<Self> {
                use $crate::config::read;
                let entries = read::entries(node, report)?;
                let known = <Self as read::Table>::KEYS;
                read::check_keys(node, known, &[$(read::key(stringify!($required))),*], report);
                Some(Self { $($field: read::field(entries, read::key(stringify!($field)), report),)+ })
            }

            #[cfg(test)]
            fn keys(path: &str, out: &mut Vec<String>) {
                $(
                    let key = $crate::config::read::key(stringify!($field));
                    out.push(format!("{path}{key}"));
                    let inner = format!("{path}{key}.");
                    <$type as $crate::config::read::FromNode>::keys(&inner, out);
                )+
            }
        }
    };
}
pub(crate) use table;

/// The key that a field stands for: one that is a word of Rust as well is written `r#static`.
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// The lines of a table.
pub(crate) fn entries<'a>(node: &'a Node, report: &mut Report) -> Option<&'a [Entry]> {
    match &node.value {
        Value::Table(entries) => Some(entries),
        _ => wrong_kind(node, "a table", report),
    }
}

/// The value under a key.
pub(crate) fn field<T: FromNode>(
    entries: &[Entry],
    key: &str,
    report: &mut Report,
) -> Option<At<T>> {
    let entry = entries.iter().find(|entry| entry.name == key)?;
    at(&entry.node, report)
}

/// Reports the keys that nobody knows, and those that are missing.
pub(crate) fn check_keys(node: &Node, known: &[&str], required: &[&str], report: &mut Report) {
    let Value::Table(entries) = &node.value else { return };
    for entry in entries.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
        let problem = Problem::new(format!("unknown key `{}`", entry.name));
        report.error(entry.span, problem.choices(&entry.name, known));
    }
    let has = |key: &&str| entries.iter().any(|entry| entry.name == *key);
    for key in required.iter().filter(|key| !has(key) && !report.illegible).collect::<Vec<_>>() {
        report.error(node.span, Problem::new(format!("`{key}` is missing")));
    }
}

/// Reports that the value is not of the kind that the key wants.
pub(crate) fn wrong_kind<T>(node: &Node, wanted: &str, report: &mut Report) -> Option<T> {
    let problem = Problem::new(format!("expected {wanted}, found {}", node.value.kind()));
    report.error(node.span, problem);
    None
}

/// The result, or a report of why there is none.
pub(crate) fn checked<T>(result: Result<T, Problem>, span: Span, report: &mut Report) -> Option<T> {
    result.map_err(|problem| report.error(span, problem)).ok()
}

fn at<T: FromNode>(node: &Node, report: &mut Report) -> Option<At<T>> {
    Some(At { value: T::from_node(node, report)?, span: node.span })
}

impl<T: FromText> FromNode for T {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) => checked(T::from_text(text), node.span, report),
            _ => wrong_kind(node, "a string", report),
        }
    }
}

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.is_empty() { Err(Problem::new("is empty")) } else { Ok(text.to_owned()) }
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Bool(flag) => Some(*flag),
            _ => wrong_kind(node, "`true` or `false`", report),
        }
    }
}

impl FromNode for u32 {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let problem = || Problem::new(format!("expected a number from 0 to {}", u32::MAX));
        match &node.value {
            Value::Integer(number) => {
                checked(u32::try_from(*number).map_err(|_| problem()), node.span, report)
            }
            _ => wrong_kind(node, "a number", report),
        }
    }
}

impl FromNode for Duration {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let duration = match &node.value {
            Value::Text(text) => units::duration(text),
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) => units::seconds(number),
                Err(_) => units::duration(&number.to_string()),
            },
            _ => return wrong_kind(node, "a duration, as in `\"10s\"`", report),
        };
        checked(duration, node.span, report)
    }
}

impl FromNode for Timeout {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let duration = Duration::from_node(node, report)?;
        let problem = || Problem::new("must be longer than 0");
        let timeout = if duration.is_zero() { Err(problem()) } else { Ok(Self(duration)) };
        checked(timeout, node.span, report)
    }
}

impl FromNode for Size {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let size = match &node.value {
            Value::Text(text) => units::size(text),
            Value::Integer(number) => units::size(&number.to_string()),
            _ => return wrong_kind(node, "a size, as in `\"64m\"`", report),
        };
        checked(size, node.span, report).map(Self)
    }
}

impl FromNode for SizeOf {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text.contains('$') => {
                Template::from_node(node, report).map(Self::Template)
            }
            _ => Size::from_node(node, report).map(Self::Fixed),
        }
    }
}

impl<T: FromNode> FromNode for List<T> {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let nodes = match &node.value {
            Value::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let items: Vec<_> = nodes.iter().filter_map(|node| at(node, report)).collect();
        Some(Self { broken: items.len() < nodes.len(), items })
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        T::keys(path, out);
    }
}

impl<T: FromNode> FromNode for Named<T> {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let mut named = Vec::new();
        for entry in entries(node, report)? {
            // The place of `[key.NAME]` is its name: `[key]` above it is no header of its own.
            let name = At { value: entry.name.clone(), span: entry.span };
            named.extend(at(&entry.node, report).map(|table| (name, table)));
        }
        Some(Self(named))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        T::keys(&format!("{path}NAME."), out);
    }
}

impl<K: FromText, V: FromNode> FromNode for Pairs<K, V> {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let mut pairs = Vec::new();
        for entry in entries(node, report)? {
            let name = checked(K::from_text(&entry.name), entry.span, report);
            let value = at(&entry.node, report);
            let name = name.map(|value| At { value, span: entry.span });
            pairs.extend(name.zip(value));
        }
        Some(Self(pairs))
    }
}

impl<T: FromNode> FromNode for OrOff<T> {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "off" => Some(Self::Off),
            _ => T::from_node(node, report).map(Self::On),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        T::keys(path, out);
    }
}

impl<T> List<T> {
    /// The values without their places.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|item| &item.value)
    }
}
