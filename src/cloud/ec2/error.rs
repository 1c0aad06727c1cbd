//! From AWS's error codes to what the caller can do about each: one table.
//!
//! Nothing else in the room decides what an error means; callers only ask for a code that
//! is part of a protocol, such as "this group exists already".

use aws_sdk_ec2::{
    config::{
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction},
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::run_instances::RunInstancesError,
};

use crate::cloud::CloudError;

/// A call that AWS refused, or that did not reach it.
#[derive(Debug)]
pub(super) struct Failure {
    /// The call, such as `RunInstances`.
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

    fn words(&self) -> String {
        // A kilobyte of base64 that only `aws sts decode-authorization-message` reads.
        let message = self.message.split(" Encoded authorization failure message:").next().unwrap_or_default();
        let message = message.trim_end().trim_end_matches('.');
        if self.code.is_empty() {
            format!("{}: {message}", self.action)
        } else {
            format!("{}: {message} ({})", self.action, self.code)
        }
    }

    /// The permission that is missing: AWS names it in newer messages, else it is the call's own.
    fn permission(&self) -> String {
        let named = self.message.split("not authorized to perform: ").nth(1).and_then(|m| m.split_whitespace().next());
        named.map_or_else(|| format!("ec2:{}", self.action), str::to_owned)
    }
}

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
    Quota,
    Forbidden,
    /// The credentials themselves are wrong.
    Credentials,
    /// With what to do.
    Invalid(&'static str),
    Ended,
    Throttled,
    Unavailable,
}

impl From<Failure> for CloudError {
    fn from(failure: Failure) -> Self {
        let words = failure.words();
        match meaning(&failure.code, &failure.message, failure.status) {
            Meaning::Capacity => Self::Capacity(words),
            Meaning::Quota => Self::Quota(format!("{words}: ask AWS for a higher quota, or end something")),
            Meaning::Forbidden => Self::Unauthorized {
                permission: Some(failure.permission()),
                message: format!("{words}: add it to the IAM policy of the operator's credentials"),
            },
            Meaning::Credentials => Self::Unauthorized {
                permission: None,
                message: format!(
                    "{words}: check the operator's AWS credentials, or the Secret spec.provider.ec2.credentials names"
                ),
            },
            Meaning::Invalid("") => Self::Invalid(words),
            Meaning::Invalid(remedy) => Self::Invalid(format!("{words}: {remedy}")),
            Meaning::Ended => Self::Ended,
            Meaning::Throttled => Self::Throttled(words),
            Meaning::Unavailable => Self::Unavailable(words),
        }
    }
}

/// AWS says "no capacity" with status 500, which the SDK would try again for seconds while
/// another type could be launched.
#[derive(Debug)]
pub(super) struct NoCapacity;

impl ClassifyRetry for NoCapacity {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err).and_then(|e| e.as_operation_error());
        let code = error.and_then(|e| e.downcast_ref::<RunInstancesError>()).and_then(|e| e.code());
        match code.map(|code| meaning(code, "", None)) {
            Some(Meaning::Capacity | Meaning::Quota) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "no capacity"
    }
}

const IMAGE: &str = "name an image of this region in spec.provider.ec2.ami";

/// The table. Codes are those of the EC2 API reference's "Error codes"; what is not listed
/// goes by its family, then by the status of the answer.
fn meaning(code: &str, message: &str, status: Option<u16>) -> Meaning {
    match code {
        // Another type, zone or subnet may do. "Unsupported" is a type the zone does not offer.
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
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

        "MaxSpotInstanceCountExceeded" | "VcpuLimitExceeded" | "InsufficientAddressCapacity" => Meaning::Quota,
        _ if code.ends_with("LimitExceeded") => Meaning::Quota,

        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" | "Client.UnauthorizedOperation" => {
            Meaning::Forbidden
        }
        "AuthFailure"
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

        // True a moment later: a lookup that came before the write, a state that is changing.
        "ConcurrentTagAccess"
        | "DependencyViolation"
        | "IdempotentParameterMismatch"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "InternalError"
        | "InternalFailure"
        | "PendingVerification"
        | "RequestTimeout"
        | "ResourceCountExceeded"
        | "ServiceUnavailable"
        | "Unavailable" => Meaning::Unavailable,

        _ if code.starts_with("InvalidAMIID.") || code.starts_with("InvalidAMIName.") => Meaning::Invalid(IMAGE),
        "ParameterNotFound" | "SsmInvalidParameter" => Meaning::Invalid(IMAGE),
        _ if message.contains("resolve:ssm:") => Meaning::Invalid(IMAGE),
        _ if code.starts_with("InvalidSubnetID.") => {
            Meaning::Invalid("name subnets of this region in spec.provider.ec2.subnets")
        }
        _ if code.starts_with("InvalidGroup.") || code.starts_with("InvalidSecurityGroupID.") => {
            Meaning::Invalid("name groups of the same VPC in spec.provider.ec2.securityGroups")
        }
        "VPCIdNotSpecified" | "DefaultVpcDoesNotExist" | "MissingInput" => Meaning::Invalid(NO_DEFAULT_VPC),
        "UnsupportedOperation" => Meaning::Invalid("choose other spec.provider.ec2.instanceTypes or another image"),
        _ if message.to_lowercase().contains("instance profile") => {
            Meaning::Invalid("name an existing one in spec.provider.ec2.instanceProfile")
        }
        _ if message.to_lowercase().contains("instance type") || message.contains("architecture") => {
            Meaning::Invalid("choose other spec.provider.ec2.instanceTypes or another image")
        }
        _ if code.starts_with("Invalid") || code.starts_with("Missing") || code.starts_with("Malformed") => {
            Meaning::Invalid("")
        }

        // Without an answer there may still be words that tell: the SDK found no credentials at all.
        "" if status.is_none() && message.to_lowercase().contains("credential") => Meaning::Credentials,
        _ => match status {
            Some(429) => Meaning::Throttled,
            Some(401 | 403) => Meaning::Credentials,
            Some(408) => Meaning::Unavailable,
            Some(400..=499) => Meaning::Invalid(""),
            _ => Meaning::Unavailable,
        },
    }
}

/// What to do without a default VPC.
pub(super) const NO_DEFAULT_VPC: &str =
    "name subnets in spec.provider.ec2.subnets, or make a default VPC with `aws ec2 create-default-vpc`";

#[cfg(test)]
pub(super) fn failure(action: &'static str, code: &str, message: &str) -> Failure {
    Failure { action, code: code.to_owned(), message: message.to_owned(), status: Some(400) }
}

#[cfg(test)]
mod tests {
    use super::{CloudError, Failure, Meaning, failure, meaning};

    #[test]
    fn codes_have_the_meaning_aws_gives_them() {
        let table = [
            ("InsufficientInstanceCapacity", Meaning::Capacity),
            ("SpotMaxPriceTooLow", Meaning::Capacity),
            ("Unsupported", Meaning::Capacity),
            ("InsufficientFreeAddressesInSubnet", Meaning::Capacity),
            ("InstanceLimitExceeded", Meaning::Quota),
            ("VcpuLimitExceeded", Meaning::Quota),
            ("MaxSpotInstanceCountExceeded", Meaning::Quota),
            ("SecurityGroupLimitExceeded", Meaning::Quota),
            ("RulesPerSecurityGroupLimitExceeded", Meaning::Quota),
            ("VolumeLimitExceeded", Meaning::Quota),
            ("RequestLimitExceeded", Meaning::Throttled),
            ("Throttling", Meaning::Throttled),
            ("UnauthorizedOperation", Meaning::Forbidden),
            ("AuthFailure", Meaning::Credentials),
            ("InvalidClientTokenId", Meaning::Credentials),
            ("SignatureDoesNotMatch", Meaning::Credentials),
            ("RequestExpired", Meaning::Credentials),
            ("IdempotentInstanceTerminated", Meaning::Ended),
            ("InternalError", Meaning::Unavailable),
            ("ServiceUnavailable", Meaning::Unavailable),
            ("InvalidParameterValue", Meaning::Invalid("")),
            ("MissingParameter", Meaning::Invalid("")),
        ];
        for (code, expected) in table {
            assert_eq!(meaning(code, "", Some(400)), expected, "{code}");
        }
        for code in
            ["InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidSubnetID.NotFound", "InvalidGroup.NotFound"]
        {
            assert!(matches!(meaning(code, "", Some(400)), Meaning::Invalid(remedy) if !remedy.is_empty()), "{code}");
        }
    }

    #[test]
    fn unknown_codes_go_by_the_status() {
        for (status, expected) in [
            (Some(429), Meaning::Throttled),
            (Some(403), Meaning::Credentials),
            (Some(404), Meaning::Invalid("")),
            (Some(500), Meaning::Unavailable),
            (Some(503), Meaning::Unavailable),
            (None, Meaning::Unavailable),
        ] {
            assert_eq!(meaning("SomethingNew", "", status), expected, "{status:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_permission() {
        let old = failure("RunInstances", "UnauthorizedOperation", "You are not authorized to perform this operation.");
        let CloudError::Unauthorized { permission, message } = old.into() else { panic!() };
        assert_eq!(permission.as_deref(), Some("ec2:RunInstances"));
        assert!(message.contains("You are not authorized to perform this operation"), "{message}");
        assert!(message.contains("IAM policy"), "{message}");

        let new = failure(
            "RunInstances",
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. User: arn:aws:iam::1:user/t is not authorized to perform: \
             ec2:CreateTags on resource: arn:aws:ec2:us-east-1:1:instance/* because no identity-based policy allows the \
             ec2:CreateTags action. Encoded authorization failure message: AAAABBBB",
        );
        let CloudError::Unauthorized { permission, message } = new.into() else { panic!() };
        assert_eq!(permission.as_deref(), Some("ec2:CreateTags"));
        assert!(!message.contains("AAAABBBB"), "{message}");
    }

    #[test]
    fn what_a_person_must_change_is_said_beside_the_clouds_words() {
        let e: CloudError =
            failure("RunInstances", "InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist").into();
        let CloudError::Invalid(message) = e else { panic!() };
        assert_eq!(
            message,
            "RunInstances: The image id '[ami-1]' does not exist (InvalidAMIID.NotFound): name an image of this region in spec.provider.ec2.ami"
        );
    }

    #[test]
    fn no_credentials_at_all_is_not_an_outage() {
        let f = Failure {
            action: "DescribeInstances",
            code: String::new(),
            message: "dispatch failure: other: the credential provider was not enabled".to_owned(),
            status: None,
        };
        assert!(matches!(CloudError::from(f), CloudError::Unauthorized { permission: None, .. }));
    }
}
