//! From AWS's error codes to what the caller can do about each: one table.
//!
//! Nothing else in the room decides what an error means; callers only ask for a code that
//! is part of a protocol, such as "this group exists already".

use std::{fmt, marker::PhantomData};

use crate::cloud::CloudError;
use aws_sdk_ec2::{
    config::{
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction},
    },
    error::{ProvideErrorMetadata, SdkError},
};

/// A call that AWS refused, or that did not reach it.
#[derive(Debug)]
pub(super) struct Failure {
    /// The call, such as `RunInstances`; that of another service with its name before it, as IAM writes it.
    action: &'static str,
    /// AWS's code; empty when the answer was not one of AWS's.
    code: String,
    message: String,
    status: Option<u16>,
}

impl Failure {
    /// For `map_err`: what became of a call.
    pub(super) fn of<E>(action: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| {
            let status = error.raw_response().map(|r| r.status().as_u16());
            let said = error.as_service_error();
            let code = said.and_then(|e| e.code()).unwrap_or_default().to_owned();
            let message = said.and_then(|e| e.message()).map(str::to_owned);
            Self { action, code, message: message.unwrap_or_else(|| without_words(&error, status)), status }
        }
    }

    /// Whether AWS answered with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// AWS's words.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether AWS says that an image is not there, or not to be launched.
    pub(super) fn is_of_image(&self) -> bool {
        self.code.starts_with("InvalidAMIID.")
    }

    /// What AWS says the architectures of an instance type and of an image are that do not go
    /// together: in both of its wordings the type's stands first.
    pub(super) fn architectures(&self) -> Option<(&str, &str)> {
        if !self.message.contains("architecture") {
            return None;
        }
        let words = self.message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let mut named = words.filter(|word| ARCHITECTURES.contains(word));
        Some((named.next()?, named.next()?))
    }

    /// The permission that is missing: AWS names it in newer messages, else it is the call's own.
    fn permission(&self) -> String {
        let named = self.message.split("not authorized to perform: ").nth(1).and_then(|m| m.split_whitespace().next());
        match named {
            Some(named) => named.to_owned(),
            None if self.code == SPOT_ROLE => "iam:CreateServiceLinkedRole".to_owned(),
            None if self.action.contains(':') => self.action.to_owned(),
            None => format!("ec2:{}", self.action),
        }
    }
}

/// The call, AWS's words, and its code.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.action.rsplit(':').next().unwrap_or_default();
        // A kilobyte of base64 that only `aws sts decode-authorization-message` reads.
        let message = self.message.split(" Encoded authorization failure message:").next().unwrap_or_default();
        let message = message.trim_end().trim_end_matches('.');
        write!(f, "{call}: {message}")?;
        if self.code.is_empty() { Ok(()) } else { write!(f, " ({})", self.code) }
    }
}

/// The values of EC2's ArchitectureType.
const ARCHITECTURES: [&str; 5] = ["arm64", "arm64_mac", "i386", "x86_64", "x86_64_mac"];

/// An account that never used spot instances lacks the role they need, and the caller may not make it.
const SPOT_ROLE: &str = "AuthFailure.ServiceLinkedRoleCreationNotPermitted";

/// What there is to say of an answer without words of AWS's, or of no answer.
fn without_words(error: &dyn std::error::Error, status: Option<u16>) -> String {
    if let Some(status) = status {
        return format!("the endpoint answered with HTTP status {status} and nothing that is an AWS error");
    }
    let causes = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string);
    let mut words: Vec<String> = causes.collect();
    words.dedup();
    words.join(": ")
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Capacity,
    /// With what to do.
    Quota(&'static str),
    Forbidden,
    /// The credentials themselves are wrong.
    Credentials,
    /// With what to do.
    Invalid(&'static str),
    Ended,
    Throttled,
    /// A definite no that passes by itself: nothing was done.
    Refused,
    /// What was done is not known.
    Unavailable,
}

impl From<Failure> for CloudError {
    fn from(failure: Failure) -> Self {
        let words = failure.to_string();
        match meaning(&failure.code, &failure.message, failure.status) {
            Meaning::Capacity => Self::Capacity(words),
            Meaning::Quota(remedy) => Self::Quota(format!("{words}: {remedy}")),
            Meaning::Forbidden => Self::Unauthorized {
                permission: Some(failure.permission()),
                message: format!("{words}: add it to the IAM policy of the operator's credentials"),
            },
            Meaning::Credentials => {
                // Temporary credentials that are too old, or a clock that is wrong: AWS says the same of both.
                let clock = if failure.code == "RequestExpired" { "the clock of the operator's node, " } else { "" };
                let message = format!(
                    "{words}: check {clock}the operator's AWS credentials, or the Secret spec.provider.ec2.credentials names"
                );
                Self::Unauthorized { permission: None, message }
            }
            Meaning::Invalid("") => Self::Invalid(words),
            Meaning::Invalid(remedy) => Self::Invalid(format!("{words}: {remedy}")),
            Meaning::Ended => Self::Ended,
            Meaning::Throttled => Self::Throttled(words),
            Meaning::Refused => Self::Refused(words),
            Meaning::Unavailable => Self::Unavailable(words),
        }
    }
}

/// For what may meet with no capacity, by the error of the call. An attempt is followed by another only when it was throttled, which is as
/// certain to have made nothing as the last word will be. AWS says "no capacity" with status
/// 500, which the SDK would try again for seconds while another type could be launched.
#[derive(Debug)]
pub(super) struct OnlyThrottled<E>(PhantomData<fn() -> E>);

impl<E> OnlyThrottled<E> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> ClassifyRetry for OnlyThrottled<E>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let refusal = error.as_operation_error().and_then(|e| e.downcast_ref::<E>());
        match refusal.and_then(|e| e.code()).map(|code| meaning(code, "", None)) {
            Some(Meaning::Throttled) => RetryAction::NoActionIndicated,
            _ => RetryAction::RetryForbidden,
        }
    }

    fn name(&self) -> &'static str {
        "only throttled"
    }
}

const QUOTA: &str = "ask AWS for a higher quota, or end something";
const PLAN: &str = "name types of the account's plan in spec.provider.ec2.instanceTypes, or upgrade the plan";
const IMAGE: &str = "name an image of this region in spec.provider.ec2.ami";
const TYPES: &str = "name instance types of this region in spec.provider.ec2.instanceTypes";
const TYPES_OR_IMAGE: &str = "choose other spec.provider.ec2.instanceTypes or another image";
const VOLUME: &str = "correct spec.provider.ec2.volume";
const SUBNETS: &str = "name subnets of this region in spec.provider.ec2.subnets";
const GROUPS: &str = "name groups of the same VPC in spec.provider.ec2.securityGroups";

/// The table. Codes are those of the EC2 API reference's "Error codes"; what is not listed
/// goes by its family, then by the status of the answer.
fn meaning(code: &str, message: &str, status: Option<u16>) -> Meaning {
    let message = message.to_lowercase();
    let says = |words: &str| message.contains(words);
    match code {
        // Two architectures come under several codes, and another zone does not help.
        "Unsupported" | "UnsupportedOperation" | "InvalidParameterValue" if says("architecture") => {
            Meaning::Invalid(TYPES_OR_IMAGE)
        }
        // Another type, zone or subnet may do. "Unsupported" is a type the zone does not offer.
        "InsufficientInstanceCapacity"
        | "InsufficientCapacityOnHost"
        | "InsufficientVolumeCapacity"
        | "UnfulfillableCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "ReservationCapacityExceeded"
        | "InsufficientCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "SpotMaxPriceTooLow"
        | "Unsupported" => Meaning::Capacity,

        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "EC2ThrottledException"
        | "TooManyRequestsException"
        | "SlowDown" => Meaning::Throttled,

        "MaxSpotInstanceCountExceeded" | "VcpuLimitExceeded" | "InsufficientAddressCapacity" => Meaning::Quota(QUOTA),
        _ if code.ends_with("LimitExceeded") => Meaning::Quota(QUOTA),
        // An account on the free plan may have some types and no others.
        _ if says("free tier") && says("instance type") => Meaning::Quota(PLAN),
        _ if says("free tier") && says("image") => Meaning::Invalid(IMAGE),

        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "Client.UnauthorizedOperation"
        | SPOT_ROLE => Meaning::Forbidden,
        "AuthFailure"
        | "AccountDisabled"
        | "Blocked"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "MissingAuthenticationToken"
        | "NotSignedUp"
        | "OptInRequired"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Meaning::Credentials,

        "IdempotentInstanceTerminated" => Meaning::Ended,

        // Otherwise a while later: a lookup that came before the write, a state that is changing, an
        // account that is being looked into.
        "ConcurrentTagAccess"
        | "DependencyViolation"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "PendingVerification"
        | "ResourceCountExceeded" => Meaning::Refused,

        // Those that do not say what this call did, or an earlier one with the same token.
        "IdempotentParameterMismatch"
        | "InternalError"
        | "InternalFailure"
        | "RequestTimeout"
        | "ServiceUnavailable"
        | "Unavailable" => Meaning::Unavailable,

        _ if code.starts_with("InvalidAMIID.") || code.starts_with("InvalidAMIName.") => Meaning::Invalid(IMAGE),
        _ if code.starts_with("InvalidSubnetID.") => Meaning::Invalid(SUBNETS),
        _ if ["InvalidGroup.", "InvalidGroupId.", "InvalidSecurityGroupID."].iter().any(|c| code.starts_with(c)) => {
            Meaning::Invalid(GROUPS)
        }
        _ if says("belong to different networks") => Meaning::Invalid(GROUPS),
        "VPCIdNotSpecified" | "DefaultVpcDoesNotExist" | "MissingInput" => Meaning::Invalid(NO_DEFAULT_VPC),
        _ if says("no default subnet") => Meaning::Invalid(NO_DEFAULT_VPC),
        "InvalidBlockDeviceMapping" | "UnknownVolumeType" | "VolumeTypeNotAvailableInZone" => Meaning::Invalid(VOLUME),
        "UnsupportedOperation" => Meaning::Invalid(TYPES_OR_IMAGE),
        _ if says("instance profile") => Meaning::Invalid("name an existing one in spec.provider.ec2.instanceProfile"),
        // "Invalid value 't3.mediun' for InstanceType."
        _ if says("for instancetype") => Meaning::Invalid(TYPES),
        _ if says("instance type") => Meaning::Invalid(TYPES_OR_IMAGE),
        // "Volume of 2000GiB is too large for volume type standard; maximum is 1024GiB"
        "InvalidParameterValue" | "InvalidParameterCombination" if says("volume") => Meaning::Invalid(VOLUME),
        _ if code.starts_with("Invalid") || code.starts_with("Missing") || code.starts_with("Malformed") => {
            Meaning::Invalid("")
        }

        // Without an answer there may still be words that tell: the SDK found no credentials at all.
        "" if status.is_none() && says("credential") => Meaning::Credentials,
        _ => match status {
            Some(429) => Meaning::Throttled,
            Some(401 | 403) => Meaning::Credentials,
            Some(408) => Meaning::Unavailable,
            Some(400..=499) => Meaning::Invalid(""),
            _ => Meaning::Unavailable,
        },
    }
}

/// Whether a code says that there were too many requests.
pub(super) fn is_throttling(code: &str) -> bool {
    meaning(code, "", None) == Meaning::Throttled
}

/// What to do without a default VPC.
pub(super) const NO_DEFAULT_VPC: &str =
    "name subnets in spec.provider.ec2.subnets, or make a default VPC with `aws ec2 create-default-vpc`";

#[cfg(test)]
pub(super) fn failure(action: &'static str, code: &str, message: &str) -> Failure {
    Failure { action, code: code.to_owned(), message: message.to_owned(), status: Some(400) }
}

#[cfg(test)]
mod tests;
