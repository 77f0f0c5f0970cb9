//! The media type of a file, by how its name ends. (nginx: types, default_type, charset)

use http::HeaderValue;

use crate::config::Static;

/// The value of `Content-Type` for a file of this name.
pub fn content_type(settings: &Static, name: &str) -> HeaderValue {
    let file = name.rsplit('/').next().unwrap_or(name);
    let end = file.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    let Some(end) = end else { return settings.default_type.clone() };
    if let Some((_, kind)) = settings.types.iter().find(|(known, _)| *known == end) {
        return with_charset(kind.to_str().unwrap_or_default(), settings)
            .unwrap_or_else(|| kind.clone());
    }
    let known = mime_guess::from_ext(&end).first_raw();
    match known.filter(|_| !settings.types_only) {
        None => settings.default_type.clone(),
        Some(kind) => with_charset(kind, settings)
            .or_else(|| HeaderValue::from_str(kind).ok())
            .unwrap_or_else(|| settings.default_type.clone()),
    }
}

/// The type with the character set; `None` where it needs none.
fn with_charset(kind: &str, settings: &Static) -> Option<HeaderValue> {
    let charset = settings.charset.as_ref()?;
    let needs_one = kind.starts_with("text/") && !kind.contains(';');
    HeaderValue::try_from(format!("{kind}; charset={charset}")).ok().filter(|_| needs_one)
}
