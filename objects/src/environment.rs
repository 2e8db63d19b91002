//! From an address and the environment to a store that can be asked.

use super::{Bucket, Inner, RETRY_FOR, Trouble};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;

/// How long an answer may say nothing. A whole object may take any time.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// Repeated so often, each time after a little longer and with chance in it: a quarter of a minute in all.
const RETRIES: usize = 8;
const RETRY_FIRST: Duration = Duration::from_millis(300);
const RETRY_LAST: Duration = Duration::from_secs(5);

pub(super) fn open(address: &str) -> Result<Bucket, Trouble> {
    let (bucket, prefix) = parse(address)?;
    // Whoever came first has chosen; both choices are ring's.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: RETRY_FIRST, max_backoff: RETRY_LAST, base: 3.0 },
        max_retries: RETRIES,
        retry_timeout: RETRY_FOR,
    };
    let builder = AmazonS3Builder::from_env().with_bucket_name(&bucket).with_retry(retry);
    // The environment's word on plain HTTP is a client's option, and survives only beside those that are set here.
    let allow_http = ["AWS_ALLOW_HTTP", "ALLOW_HTTP"].iter().find_map(|name| std::env::var(name).ok());
    let allow_http = allow_http.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
    let options = ClientOptions::new().with_allow_http(allow_http).with_connect_timeout(CONNECT).with_read_timeout(SILENCE);
    let store = builder.with_client_options(options.with_timeout_disabled()).build();
    let store = store.map_err(|error| Trouble::of("open", address, &bucket, &error))?;
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("objects").enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Trouble::new(format!("no thread for the store {address}: {error}")))?;
    Ok(Bucket { inner: Arc::new(Inner { store, bucket, prefix, runtime }) })
}

/// The bucket and the prefix.
fn parse(address: &str) -> Result<(String, Path), Trouble> {
    let wrong = || Trouble::new(format!("`{address}` is no address of a bucket: give s3://BUCKET or s3://BUCKET/PREFIX"));
    let rest = address.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if bucket.is_empty() || !bucket.bytes().all(is_name) {
        return Err(wrong());
    }
    let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| wrong())?;
    Ok((bucket.to_owned(), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_perhaps_a_prefix() {
        let parts = |address: &str| parse(address).map(|(bucket, prefix)| (bucket, prefix.to_string())).ok();
        let found = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(parts("s3://things"), found("things", ""));
        assert_eq!(parts("s3://things/"), found("things", ""));
        assert_eq!(parts("s3://things/a/b/"), found("things", "a/b"));
        for wrong in ["things", "s3:/things", "s3://", "s3:///a", "s3://user:word@things/a", "s3://things/a//b", "gs://things"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
        assert_eq!(open("s3://things/a").unwrap().to_string(), "s3://things/a");
    }
}
