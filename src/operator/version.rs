//! Which version serves an installation, told to everybody who works with it: `kubectl testkit version`.

use std::time::Duration;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};

use crate::api::{MANAGER, OPERATOR_VERSION, VERSION};

/// Before it is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Writes it down in the operator's namespace. Nothing else hangs on it.
pub async fn tell(client: Client, namespace: String) {
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(OPERATOR_VERSION.to_owned()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([("version".to_owned(), VERSION.to_owned())].into()),
        ..ConfigMap::default()
    };
    let over_an_older_ones = PatchParams::apply(MANAGER).force();
    while let Err(error) = maps.patch(OPERATOR_VERSION, &over_an_older_ones, &Patch::Apply(&map)).await {
        let refused = matches!(&error, kube::Error::Api(status) if status.is_forbidden());
        tracing::warn!(%error, %namespace, name = OPERATOR_VERSION, "the operator's version could not be written down");
        if refused {
            // A role of an older release. A new one is applied before a new operator.
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
