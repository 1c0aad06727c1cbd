//! Which kubeconfig counts, and what is wrong with it where it cannot be used.

use std::path::PathBuf;

use kube::{
    Config,
    config::{Cluster, Context, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedCluster, NamedContext},
};

use super::ConnectionArgs;
use crate::{
    cli::{
        failure::{Failure, words},
        suggest,
    },
    proxy,
};

/// The kubeconfig kubectl would read, or none.
pub fn kubeconfig(args: &ConnectionArgs) -> Result<Option<Kubeconfig>, Failure> {
    if let Some(path) = &args.kubeconfig {
        return Kubeconfig::read_from(path).map(Some).map_err(|e| match e {
            KubeconfigError::ReadConfig(e, _) => Failure::new(format!("{} cannot be read: {e}", path.display())),
            e => Failure::new(format!("{} is not a usable kubeconfig: {}", path.display(), words(&e))),
        });
    }
    let broken = |e: KubeconfigError| {
        Failure::new(format!("the kubeconfig cannot be used: {}", words(&e)))
            .help("kubectl config view shows what kubectl makes of it")
    };
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&named).filter(|p| !p.as_os_str().is_empty()).collect();
    let merged = match named.as_slice() {
        // The default file, or an error where there is no home to look in.
        [] => Kubeconfig::read().map(Some).or_else(|e| match e {
            KubeconfigError::FindPath => Ok(None),
            KubeconfigError::ReadConfig(e, _) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            e => Err(e),
        }),
        files => merged(files),
    };
    Ok(merged.map_err(broken)?.filter(|file| !(file.contexts.is_empty() && file.clusters.is_empty())))
}

/// What these files say together, the first of them first. Those that are not there are passed over, as with kubectl.
fn merged(files: &[PathBuf]) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut merged = None;
    for file in files {
        let read = match Kubeconfig::read_from(file) {
            Err(KubeconfigError::ReadConfig(e, _)) if e.kind() == std::io::ErrorKind::NotFound => continue,
            read => read?,
        };
        merged = Some(match merged {
            None => read,
            Some(before) => Kubeconfig::merge(before, read)?,
        });
    }
    Ok(merged)
}

pub(super) fn no_kubeconfig() -> Failure {
    let places = match std::env::var("KUBECONFIG") {
        Ok(files) if !files.is_empty() => format!("KUBECONFIG names {files:?}, and no usable file is there"),
        _ => "KUBECONFIG is not set and ~/.kube/config is not there".to_owned(),
    };
    Failure::new(format!("there is no kubeconfig to tell which Kubernetes to talk to: {places}"))
        .help("name one with --kubeconfig FILE, or: export KUBECONFIG=FILE")
}

/// What a kubeconfig says of a context, or of another cluster or user of it.
pub(super) async fn used(
    file: Kubeconfig,
    options: &KubeConfigOptions,
    context: Option<&str>,
) -> Result<Config, Failure> {
    let known = Known::of(&file);
    // The library takes nobody for a user that it does not know.
    if let Some(user) = options.user.as_ref().filter(|user| !known.users.contains(user)) {
        return Err(unknown("user", user, &known.users));
    }
    proxy::read(file, options).await.map_err(|e| unusable(&e, context, &known))
}

/// What stands for a server that is named without a context.
const NAMED: &str = "the server of --server";

/// What a server is asked with that is named without a context: the credentials of a user, and what is said of a
/// cluster, where these are named.
pub(super) async fn of_server(
    mut file: Kubeconfig,
    server: hyper::Uri,
    options: &KubeConfigOptions,
) -> Result<Config, Failure> {
    if options.user.is_none() && options.cluster.is_none() {
        return Ok(Config::new(server));
    }
    let cluster = Cluster { server: Some(server.to_string()), ..Cluster::default() };
    file.clusters.push(NamedCluster { name: NAMED.to_owned(), cluster: Some(cluster), ..NamedCluster::default() });
    let context = Context { cluster: NAMED.to_owned(), user: options.user.clone(), ..Context::default() };
    file.contexts.push(NamedContext { name: NAMED.to_owned(), context: Some(context), ..NamedContext::default() });
    let options = KubeConfigOptions { context: Some(NAMED.to_owned()), ..options.clone() };
    let mut config = used(file, &options, Some(NAMED)).await?;
    config.cluster_url = server;
    Ok(config)
}

/// The names in a kubeconfig.
struct Known {
    contexts: Vec<String>,
    clusters: Vec<String>,
    users: Vec<String>,
}

impl Known {
    fn of(file: &Kubeconfig) -> Self {
        Self {
            contexts: file.contexts.iter().map(|c| c.name.clone()).collect(),
            clusters: file.clusters.iter().map(|c| c.name.clone()).collect(),
            users: file.auth_infos.iter().map(|u| u.name.clone()).collect(),
        }
    }
}

fn unknown(what: &str, name: &str, known: &[String]) -> Failure {
    suggest::among(Failure::new(format!("the kubeconfig has no {what} {name:?}")), name, what, Some(known))
}

fn unusable(error: &KubeconfigError, context: Option<&str>, known: &Known) -> Failure {
    match (error, context) {
        (KubeconfigError::LoadContext(name), _) => unknown("context", name, &known.contexts),
        (KubeconfigError::LoadClusterOfContext(name), _) => unknown("cluster", name, &known.clusters),
        (KubeconfigError::CurrentContextNotSet, _) | (_, None) => Failure::new("the kubeconfig has no current context")
            .help(match known.contexts.as_slice() {
                [] => "kubectl config set-context --help".to_owned(),
                known => format!("choose one with --context: {}", known.join(", ")),
            }),
        (e, Some(context)) => {
            Failure::new(format!("context {context:?} of the kubeconfig cannot be used: {}", words(e)))
                .help("kubectl config view shows what kubectl makes of it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_are_passed_over_and_the_first_wins() {
        let folder = std::env::temp_dir().join(format!("testkit-kubeconfig-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, context: &str| {
            let path = folder.join(name);
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: {context}\ncontexts:\n- name: {context}\n  context: {{cluster: c, user: u}}\n"
            );
            std::fs::write(&path, text).unwrap();
            path
        };
        let (a, b, missing) = (file("a", "one"), file("b", "two"), folder.join("nope"));
        let both = merged(&[missing.clone(), a, missing.clone(), b]).unwrap().unwrap();
        assert_eq!((both.current_context.as_deref(), both.contexts.len()), (Some("one"), 2));
        assert!(merged(&[missing]).unwrap().is_none());
        std::fs::write(folder.join("c"), "{").unwrap();
        assert!(merged(&[folder.join("c")]).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_named_without_a_context_is_asked_as_the_user_who_is_named() {
        let file: Kubeconfig = Kubeconfig::from_yaml(
            "apiVersion: v1\nkind: Config\nusers:\n- name: ci\n  user: {username: ci, password: x}\n\
             clusters:\n- name: c\n  cluster: {server: 'https://c:1', tls-server-name: api}\n",
        )
        .unwrap();
        let server: hyper::Uri = "https://there:6443".parse().unwrap();
        let options = |user: Option<&str>, cluster: Option<&str>| KubeConfigOptions {
            context: None,
            cluster: cluster.map(str::to_owned),
            user: user.map(str::to_owned),
        };
        for (user, cluster, name, tls) in [
            (None, None, None, None),
            (Some("ci"), None, Some("ci"), None),
            (Some("ci"), Some("c"), Some("ci"), Some("api")),
        ] {
            let config = of_server(file.clone(), server.clone(), &options(user, cluster)).await.unwrap();
            assert_eq!(config.cluster_url, server);
            assert_eq!((config.auth_info.username.as_deref(), config.tls_server_name.as_deref()), (name, tls));
        }
        let failure = of_server(file, server, &options(Some("nobody"), None)).await.unwrap_err();
        assert!(failure.what().contains("no user \"nobody\""), "{failure}");
    }
}
