//! Systems Manager's GetParameters, for images that are named by a public parameter.
//!
//! Its SDK is another one of EC2's size, and takes as long to build. This is the one call that is
//! made of it, described to the runtime that both SDKs stand on: signing, retries and timeouts
//! stay the SDK's. Of the wire there is the protocol `awsJson1_1`
//! (<https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>).

use aws_config::SdkConfig;
use aws_runtime::{
    auth::{SigV4OperationSigningConfig, sigv4},
    retries::classifiers::AwsErrorCodeClassifier,
};
use aws_sdk_ec2::{
    config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _},
    error::{BoxError, ErrorMetadata, SdkError},
};
use aws_smithy_runtime::client::{orchestrator::operation::Operation, retries::classifiers::TransientErrorClassifier};
use aws_smithy_runtime_api::client::{
    auth::{
        AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
        static_resolver::StaticAuthSchemeOptionResolver,
    },
    orchestrator::{HttpRequest, HttpResponse, OrchestratorError},
    runtime_components::RuntimeComponentsBuilder,
    runtime_plugin::StaticRuntimePlugin,
};
use aws_smithy_types::config_bag::Layer;
use aws_types::{SigningName, region::SigningRegion, service_config::ServiceConfigKey};
use serde::Deserialize;

/// What Systems Manager is called in signatures and host names.
const SERVICE: &str = "ssm";

/// The parameters of Systems Manager in one region.
pub(super) struct Parameters(Operation<String, Option<String>, ErrorMetadata>);

impl Parameters {
    /// Prepares the call, with the settings the client of EC2 has.
    pub(super) async fn new(settings: &SdkConfig) -> Self {
        let region = settings.region().cloned();
        let mut signing = Layer::new("signing");
        signing.store_put(AuthSchemeOptionResolverParams::new(()));
        signing.store_put(SigV4OperationSigningConfig::default());
        signing.store_put(SigningName::from_static(SERVICE));
        if let Some(region) = region {
            signing.store_put(SigningRegion::from(region));
        }
        let mut components = RuntimeComponentsBuilder::new("parameters");
        components.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
            StaticAuthSchemeOptionResolver::new(vec![sigv4::SCHEME_ID]),
        )));
        components.push_auth_scheme(SharedAuthScheme::new(sigv4::SigV4AuthScheme::new()));
        components.set_identity_cache(settings.identity_cache());
        if let Some(credentials) = settings.credentials_provider() {
            components.set_identity_resolver(sigv4::SCHEME_ID, credentials);
        }
        let mut call = Operation::builder()
            .service_name("SSM")
            .operation_name("GetParameters")
            .endpoint_url(&endpoint(settings).await)
            .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
            .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
            .runtime_plugin(
                StaticRuntimePlugin::new().with_config(signing.freeze()).with_runtime_components(components),
            );
        if let Some(version) = settings.behavior_version() {
            call = call.behavior_version(version);
        }
        if let Some(client) = settings.http_client() {
            call = call.http_client(client);
        }
        if let Some(retries) = settings.retry_config() {
            call = call.standard_retry(retries);
        }
        if let Some(timeouts) = settings.timeout_config() {
            call = call.timeout_config(timeouts.clone());
        }
        if let Some(stalled) = settings.stalled_stream_protection() {
            call = call.stalled_stream_protection(stalled);
        }
        Self(call.serializer(|name: String| request(&name)).deserializer(answer).build())
    }

    /// The value of a parameter; `None` where there is none of that name.
    pub(super) async fn get(&self, name: &str) -> Result<Option<String>, SdkError<ErrorMetadata, HttpResponse>> {
        self.0.invoke(name.to_owned()).await
    }
}

/// Where Systems Manager is: what the environment or the profile says, as every SDK reads it, else beside EC2.
async fn endpoint(settings: &SdkConfig) -> String {
    let own = ServiceConfigKey::builder().service_id(SERVICE).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let own = own.ok().filter(|_| !settings.get_origin("endpoint_url").is_client_config());
    let own = own.and_then(|key| settings.service_config()?.load_config(key));
    if let Some(url) = own.or_else(|| settings.endpoint_url().map(str::to_owned)) {
        return url;
    }
    let mut params = Params::builder().use_fips(settings.use_fips().unwrap_or_default());
    params = params.use_dual_stack(settings.use_dual_stack().unwrap_or_default());
    let params = params.set_region(settings.region().map(ToString::to_string)).build();
    let Ok(params) = params else { return String::new() };
    // The names of both services are alike in every partition.
    let ec2 = DefaultResolver::new().resolve_endpoint(&params).await;
    ec2.map(|e| e.url().replacen("://ec2", "://ssm", 1)).unwrap_or_default()
}

fn request(name: &str) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(serde_json::json!({ "Names": [name] }).to_string().into());
    request.set_method("POST")?;
    request.set_uri("/")?;
    let headers = request.headers_mut();
    headers.try_insert("content-type", "application/x-amz-json-1.1")?;
    headers.try_insert("x-amz-target", "AmazonSSM.GetParameters")?;
    headers.try_insert("user-agent", "testkit-operator")?;
    Ok(request)
}

fn answer(response: &HttpResponse) -> Result<Option<String>, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if !response.status().is_success() {
        return Err(OrchestratorError::operation(refusal(body)));
    }
    let found: Found = serde_json::from_slice(body).map_err(|e| OrchestratorError::response(e.into()))?;
    Ok(found.parameters.into_iter().next().map(|p| p.value))
}

/// A code may have a namespace before it and a URL behind it: `com.amazonaws.ssm#Code:http://…`.
fn refusal(body: &[u8]) -> ErrorMetadata {
    let said: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let code = said.code.split(':').next().and_then(|c| c.rsplit('#').next()).unwrap_or_default();
    let mut refusal = ErrorMetadata::builder();
    if !code.is_empty() {
        refusal = refusal.code(code);
    }
    if let Some(message) = said.message {
        refusal = refusal.message(message);
    }
    refusal.build()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    value: String,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    code: String,
    #[serde(default, alias = "Message")]
    message: Option<String>,
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region, SdkConfig};

    use super::{endpoint, refusal};

    #[tokio::test]
    async fn it_is_beside_ec2_in_every_partition() {
        for (region, url) in [
            ("us-east-1", "https://ssm.us-east-1.amazonaws.com"),
            ("us-gov-west-1", "https://ssm.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "https://ssm.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "https://ssm.eusc-de-east-1.amazonaws.eu"),
        ] {
            let settings = SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12());
            assert_eq!(endpoint(&settings.region(Region::new(region)).build()).await, url);
        }
    }

    #[test]
    fn a_code_stands_alone() {
        for code in ["Denied", "com.amazonaws.ssm#Denied", "com.amazonaws.ssm#Denied:http://internal.amazon.com/"] {
            let said = refusal(format!(r#"{{"__type": "{code}", "Message": "no"}}"#).as_bytes());
            assert_eq!((said.code(), said.message()), (Some("Denied"), Some("no")));
        }
        let said = refusal(b"<html>");
        assert_eq!((said.code(), said.message()), (None, None));
    }
}
