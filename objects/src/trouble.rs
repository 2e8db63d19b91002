//! Why a store did not do what it was asked, in words somebody can act on.

use std::error::Error;
use std::fmt;

/// What went wrong, and where. Never a key or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    text: String,
}

/// What the environment holds that no message may show.
const SECRETS: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

impl Trouble {
    pub(crate) fn new(text: impl Into<String>) -> Trouble {
        let mut text = text.into();
        for secret in SECRETS.iter().filter_map(|name| std::env::var(name).ok()).filter(|secret| !secret.is_empty()) {
            text = text.replace(&secret, "***");
        }
        Trouble { text }
    }

    /// What came of asking a store to `what` the object at `place`.
    pub(crate) fn of(what: &str, place: &str, bucket: &str, error: &object_store::Error) -> Trouble {
        let text = chain(error);
        let said = answer(&text);
        Trouble::new(match error {
            _ if said.contains("NoSuchBucket") => format!("cannot {what} {place}: there is no bucket {bucket}; make it first"),
            object_store::Error::NotFound { .. } => format!("cannot {what} {place}: it is not there"),
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                format!("cannot {what} {place}: the store refuses the credentials, or does not allow them this: {said}")
            }
            _ if text.contains("URL scheme is not allowed") => {
                format!(
                    "cannot {what} {place}: its endpoint speaks http, which shows everybody what is sent: allow it with AWS_ALLOW_HTTP=true"
                )
            }
            _ if text.contains("169.254.169.254") => format!(
                "cannot {what} {place}: there are no credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), and no \
                 instance role answers"
            ),
            _ if said == text && text.contains("HTTP error") => {
                format!("cannot {what} {place}: the store cannot be reached: {}", reason(error))
            }
            _ => format!("cannot {what} {place}: {said}"),
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Trouble {}

/// A store's own code and message, if it gave an answer; else all there is.
fn answer(text: &str) -> String {
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(inner, _)| inner)
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => text.to_owned(),
    }
}

/// An error and all it came from, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// All that is said; what repeats what it came from is left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The innermost reason.
fn reason(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> object_store::Error {
        object_store::Error::PermissionDenied { path: "p".into(), source: text.into() }
    }

    #[test]
    fn a_stores_answer_is_told_in_its_own_words() {
        let text = "Server returned non-2xx status code: 403 Forbidden: <Error><Code>InvalidAccessKeyId</Code>\
                    <Message>no such key</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        let told = Trouble::of("write", "s3://b/o", "b", &refused(text)).to_string();
        assert!(told.ends_with("does not allow them this: InvalidAccessKeyId: no such key"), "{told}");
        let missing = object_store::Error::NotFound { path: "p".into(), source: "<Code>NoSuchBucket</Code>".into() };
        assert!(Trouble::of("list", "s3://b", "b", &missing).to_string().contains("there is no bucket b; make it first"));
        let absent = object_store::Error::NotFound { path: "p".into(), source: "<Code>NoSuchKey</Code>".into() };
        assert_eq!(Trouble::of("read", "s3://b/o", "b", &absent).to_string(), "cannot read s3://b/o: it is not there");
    }
}
