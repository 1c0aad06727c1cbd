use super::{CloudError, Failure, IMAGE, Meaning, PLAN, QUOTA, TYPES, TYPES_OR_IMAGE, failure, meaning};

#[test]
fn codes_have_the_meaning_aws_gives_them() {
    let table = [
        ("InsufficientInstanceCapacity", Meaning::Capacity),
        ("SpotMaxPriceTooLow", Meaning::Capacity),
        ("Unsupported", Meaning::Capacity),
        ("InsufficientFreeAddressesInSubnet", Meaning::Capacity),
        ("InsufficientCapacityOnHost", Meaning::Capacity),
        ("UnfulfillableCapacity", Meaning::Capacity),
        ("InstanceLimitExceeded", Meaning::Quota(QUOTA)),
        ("VcpuLimitExceeded", Meaning::Quota(QUOTA)),
        ("MaxSpotInstanceCountExceeded", Meaning::Quota(QUOTA)),
        ("ReservationCapacityExceeded", Meaning::Capacity),
        ("AccountDisabled", Meaning::Credentials),
        ("SecurityGroupLimitExceeded", Meaning::Quota(QUOTA)),
        ("RulesPerSecurityGroupLimitExceeded", Meaning::Quota(QUOTA)),
        ("VolumeLimitExceeded", Meaning::Quota(QUOTA)),
        ("RequestLimitExceeded", Meaning::Throttled),
        ("Throttling", Meaning::Throttled),
        ("UnauthorizedOperation", Meaning::Forbidden),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", Meaning::Forbidden),
        ("AuthFailure", Meaning::Credentials),
        ("InvalidClientTokenId", Meaning::Credentials),
        ("SignatureDoesNotMatch", Meaning::Credentials),
        ("RequestExpired", Meaning::Credentials),
        ("IdempotentInstanceTerminated", Meaning::Ended),
        ("ConcurrentTagAccess", Meaning::Refused),
        ("DependencyViolation", Meaning::Refused),
        ("IncorrectInstanceState", Meaning::Refused),
        ("IncorrectState", Meaning::Refused),
        ("PendingVerification", Meaning::Refused),
        ("ResourceCountExceeded", Meaning::Refused),
        ("IdempotentParameterMismatch", Meaning::Unavailable),
        ("RequestTimeout", Meaning::Unavailable),
        ("InternalError", Meaning::Unavailable),
        ("InternalFailure", Meaning::Unavailable),
        ("ServiceUnavailable", Meaning::Unavailable),
        ("InvalidParameterValue", Meaning::Invalid("")),
        ("MissingParameter", Meaning::Invalid("")),
    ];
    for (code, expected) in table {
        assert_eq!(meaning(code, "", Some(400)), expected, "{code}");
    }
    for code in ["InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidSubnetID.NotFound", "InvalidGroup.NotFound"]
    {
        assert!(matches!(meaning(code, "", Some(400)), Meaning::Invalid(remedy) if !remedy.is_empty()), "{code}");
    }
}

#[test]
fn a_refusal_of_a_launch_has_made_nothing_unless_it_does_not_say() {
    let answer = |code: &str, status| {
        let f = Failure { action: "RunInstances", code: code.to_owned(), message: String::new(), status };
        CloudError::from(f).made_nothing()
    };
    for code in [
        "InsufficientInstanceCapacity",
        "InsufficientFreeAddressesInSubnet",
        "Unsupported",
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "UnauthorizedOperation",
        "AuthFailure",
        "InvalidParameterValue",
        "InvalidAMIID.NotFound",
        "UnsupportedOperation",
        "RequestLimitExceeded",
        "ConcurrentTagAccess",
        "IncorrectState",
        "PendingVerification",
        "ResourceCountExceeded",
        "InvalidGroup.NotFound",
        "SomethingNew",
    ] {
        assert!(answer(code, Some(400)), "{code}");
    }
    // AWS says these with a status that means its own failure.
    assert!(answer("InsufficientInstanceCapacity", Some(500)) && answer("RequestLimitExceeded", Some(503)));
    for (code, status) in [
        ("IdempotentInstanceTerminated", Some(400)),
        ("IdempotentParameterMismatch", Some(400)),
        ("RequestTimeout", Some(408)),
        ("", Some(408)),
        ("InternalError", Some(500)),
        ("Unavailable", Some(503)),
        ("SomethingNew", Some(502)),
        ("", Some(504)),
        ("", None),
    ] {
        assert!(!answer(code, status), "{code} {status:?}");
    }
}

#[test]
fn what_is_wrong_with_a_launch_is_said_with_where_to_correct_it() {
    for (code, message, remedy) in [
        ("InvalidParameterValue", "Invalid value 't3.mediun' for InstanceType.", "spec.provider.ec2.instanceTypes"),
        (
            "InvalidParameterCombination",
            "Non-Windows instances with a virtualization type of 'hvm' are currently not supported for this instance type.",
            "spec.provider.ec2.instanceTypes",
        ),
        ("Unsupported", "The architecture 'arm64' of the specified instance type does not match", "another image"),
        (
            "InvalidParameter",
            "Security group sg-1 and subnet subnet-1 belong to different networks.",
            "ec2.securityGroups",
        ),
        (
            "InvalidBlockDeviceMapping",
            "Volume of size 8GB is smaller than snapshot 'snap-1', expect size >= 30GB",
            "spec.provider.ec2.volume",
        ),
        (
            "InvalidParameterValue",
            "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
            "instanceProfile",
        ),
        ("MissingInput", "No subnets found for the default VPC 'vpc-1'. Please specify a subnet.", "ec2.subnets"),
        ("InvalidInput", "No default subnet for availability zone: 'us-east-1e'.", "ec2.subnets"),
        (
            "InvalidParameterValue",
            "Volume of 2000GiB is too large for volume type standard; maximum is 1024GiB",
            "spec.provider.ec2.volume",
        ),
        ("InvalidGroupId.Malformed", "Invalid id: \"web\" (expecting \"sg-...\")", "ec2.securityGroups"),
    ] {
        let e: CloudError = failure("RunInstances", code, message).into();
        let words = message.trim_end_matches('.');
        assert!(matches!(&e, CloudError::Invalid(m) if m.contains(remedy) && m.contains(words)), "{e:?}");
    }
    let plain = "The requested configuration is currently not supported. Please check the documentation";
    assert_eq!(meaning("Unsupported", plain, Some(400)), Meaning::Capacity, "in this zone");
}

#[test]
fn what_is_said_of_an_instance_type_is_told_by_whether_another_one_may_do() {
    for (code, words, expected) in [
        (
            "InvalidParameterCombination",
            "The specified instance type is not eligible for Free Tier. For a list of Free Tier instance types, run \
             'describe-instance-types' with the filter 'free-tier-eligible=true'.",
            Meaning::Quota(PLAN),
        ),
        (
            "InvalidParameterCombination",
            "The specified image is not eligible for Free Tier. For a list of Free Tier images, run 'describe-images' \
             with the filter 'free-tier-eligible=true'.",
            Meaning::Invalid(IMAGE),
        ),
        (
            "Unsupported",
            "Your requested instance type (t3.medium) is not supported in your requested Availability Zone (us-east-1e). \
             Please retry your request by not specifying an Availability Zone or choosing us-east-1a, us-east-1b.",
            Meaning::Capacity,
        ),
        (
            "Unsupported",
            "The requested configuration is currently not supported. Please check the documentation for supported \
             configurations.",
            Meaning::Capacity,
        ),
        (
            "InsufficientInstanceCapacity",
            "We currently do not have sufficient t3.medium capacity in the Availability Zone you requested (us-east-1a).",
            Meaning::Capacity,
        ),
        ("InsufficientInstanceCapacity", "Insufficient capacity.", Meaning::Capacity),
        (
            "ReservationCapacityExceeded",
            "The requested reservation does not have sufficient compatible and available capacity for this request.",
            Meaning::Capacity,
        ),
        (
            "VcpuLimitExceeded",
            "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket that \
             the specified instance type belongs to.",
            Meaning::Quota(QUOTA),
        ),
        (
            "InstanceLimitExceeded",
            "Your quota allows for 0 more running instance(s). You requested at least 1",
            Meaning::Quota(QUOTA),
        ),
        ("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded", Meaning::Quota(QUOTA)),
        (
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. User: x is not authorized to perform: ec2:RunInstances on \
             resource: arn:aws:ec2:us-east-1:1:instance/* with an explicit deny in a service control policy.",
            Meaning::Forbidden,
        ),
        // What is written wrongly, or does not go with the image, is told: another type would hide it.
        ("InvalidParameterValue", "Invalid value 't3.mediun' for InstanceType.", Meaning::Invalid(TYPES)),
        (
            "InvalidParameterCombination",
            "Enhanced networking with the Elastic Network Adapter (ENA) is required for the 'm5.large' instance type. \
             Ensure that you are using an AMI that is enabled for ENA.",
            Meaning::Invalid(TYPES_OR_IMAGE),
        ),
    ] {
        assert_eq!(meaning(code, words, Some(400)), expected, "{code}: {words}");
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
fn a_clock_that_is_wrong_is_thought_of() {
    let e: CloudError = failure("DescribeInstances", "RequestExpired", "Request has expired.").into();
    let CloudError::Unauthorized { permission: None, message } = e else { panic!("{e:?}") };
    assert!(message.contains("check the clock of the operator's node, the operator's AWS credentials"), "{message}");
}

#[test]
fn a_refusal_names_the_permission() {
    let old = failure("RunInstances", "UnauthorizedOperation", "You are not authorized to perform this operation.");
    let CloudError::Unauthorized { permission, message } = old.into() else { panic!() };
    assert_eq!(permission.as_deref(), Some("ec2:RunInstances"));
    assert!(message.contains("You are not authorized to perform this operation"), "{message}");
    assert!(message.contains("IAM policy"), "{message}");

    let spot = failure("RunInstances", "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "The provided credentials");
    let other = failure("ssm:GetParameters", "AccessDeniedException", "no words");
    for (refusal, needed) in [(spot, "iam:CreateServiceLinkedRole"), (other, "ssm:GetParameters")] {
        let CloudError::Unauthorized { permission, .. } = refusal.into() else { panic!() };
        assert_eq!(permission.as_deref(), Some(needed));
    }

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
