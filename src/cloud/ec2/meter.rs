//! The one place that every request to EC2 goes through: it is counted here, and not sent when the time of this process
//! is over.

use aws_sdk_ec2::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef},
    },
    error::BoxError,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use super::error::is_throttling;
use crate::{fence::Fence, metrics::metrics};

/// The code of a request that was not answered.
const NONE: &str = "none";

/// Sees each try of each call.
#[derive(Debug)]
pub(super) struct Meter;

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(Fence::of_process().check()?)
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(operation) = bag.load::<Metadata>() else { return Ok(()) };
        let body = context.response().map(|response| response.body().bytes().unwrap_or_default());
        let failure = match (context.output_or_error(), body) {
            (Some(Ok(_)), _) => None,
            (_, Some(body)) => Some(code(body)),
            (_, None) => Some(NONE),
        };
        metrics().call(operation.name(), failure.map(|code| (code, is_throttling(code))));
        Ok(())
    }
}

/// The code of EC2's error: `<Response><Errors><Error><Code>…</Code>`.
fn code(body: &[u8]) -> &str {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    // It becomes a label: nothing that is no code of AWS's does.
    let is_one = |code: &&str| code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    code.filter(is_one).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_from_what_ec2_answers() {
        for (body, expected) in [
            (
                "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>m</Message></Error></Errors></Response>",
                "RequestLimitExceeded",
            ),
            ("<Error><Code>InvalidInstanceID.NotFound</Code></Error>", "InvalidInstanceID.NotFound"),
            ("<html>Bad Gateway</html>", NONE),
            ("<Code>a b</Code>", NONE),
            ("", NONE),
        ] {
            assert_eq!(code(body.as_bytes()), expected, "{body}");
        }
        assert!(is_throttling("RequestLimitExceeded") && !is_throttling("UnauthorizedOperation"));
    }
}
