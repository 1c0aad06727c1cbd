//! Which proxy leads to the API server: chosen as kubectl chooses it.
//!
//! The library (kube 5.0) asks whether `NO_PROXY` names the proxy, where everybody else asks whether it names the server; it
//! refuses a kubeconfig where it cannot read an entry of that, where everybody else passes over the entry; and a proxy that it
//! cannot read it refuses also where none leads to the server, without a word of whose it is.

use std::env;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::{
    Config,
    config::{Cluster, Context, ExecAuthCluster, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// What the environment says of proxies: each of them once in capitals, and once not, as the name tells that is beside
/// the value.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// `HTTPS_PROXY`
    pub https: Option<(String, String)>,
    /// `HTTP_PROXY`
    pub http: Option<(String, String)>,
    /// `NO_PROXY`
    pub none: Option<(String, String)>,
}

/// What is to be a proxy, and is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{source_name} is {value:?}, which is no address of a proxy: write one such as http://proxy.example.com:3128 or socks5://proxy.example.com:1080"
)]
pub struct NoAddress {
    /// Who says it.
    source_name: String,
    /// What it says, without credentials.
    value: String,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn here() -> Self {
        let of = |name: &str| {
            let set = |name: String| {
                let value = env::var(&name).ok().filter(|value| !value.trim().is_empty())?;
                Some((name, value))
            };
            set(name.to_owned()).or_else(|| set(name.to_ascii_lowercase()))
        };
        Self { https: of("HTTPS_PROXY"), http: of("HTTP_PROXY"), none: of("NO_PROXY") }
    }

    /// The proxy that leads to a server: what its kubeconfig says, whatever else is said; else the environment's, but never
    /// to this machine itself or to what `NO_PROXY` names (Go's `http.ProxyFromEnvironment`).
    ///
    /// # Errors
    /// What counts is no address of a proxy. To go there without one is what somebody may have meant to keep from happening.
    pub fn proxy(&self, server: &Uri, said: Option<&str>) -> Result<Option<Uri>, NoAddress> {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            return address("proxy-url of the kubeconfig", said, said).map(Some);
        }
        let proxy = if server.scheme_str() == Some("http") { &self.http } else { &self.https };
        let (Some((name, value)), Some(host)) = (proxy, server.host()) else { return Ok(None) };
        let apart = Matcher::builder().all("http://any").no(self.apart(server)).build();
        if is_here(host) || apart.intercept(server).is_none() {
            return Ok(None);
        }
        let proxy = value.trim();
        let whole = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
        address(name, value, &whole).map(Some)
    }

    /// The entries of `NO_PROXY` that count at the server's port, without it.
    fn apart(&self, server: &Uri) -> String {
        let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
        let entries =
            self.none.as_ref().map_or("", |(_, value)| value).split(',').map(str::trim).filter(|e| !e.is_empty());
        let of_port = |entry: &str| match entry.rsplit_once(':') {
            // More colons than one are those of an IPv6 address, unless it is in brackets.
            Some((name, at)) if !name.contains(':') || name.ends_with(']') => match at.parse::<u16>() {
                Ok(at) if at == port => Some(name.to_owned()),
                Ok(_) => None,
                Err(_) => Some(entry.to_owned()),
            },
            _ => Some(entry.to_owned()),
        };
        let entries = entries.filter_map(of_port).map(|entry| {
            let bare = entry.trim_start_matches('[').trim_end_matches(']');
            // `*.example.com` is `.example.com`.
            bare.strip_prefix("*.").map_or_else(|| bare.to_owned(), |domain| format!(".{domain}"))
        });
        entries.collect::<Vec<_>>().join(",")
    }
}

/// The address of a proxy, of a kind that there is a client for.
fn address(source_name: &str, value: &str, whole: &str) -> Result<Uri, NoAddress> {
    let no_address = || NoAddress { source_name: source_name.to_owned(), value: without_credentials(value) };
    let uri: Uri = whole.parse().map_err(|_| no_address())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https" | "socks5"));
    // What is no number after a colon is passed over by the library, and the port would be another one.
    let at = uri.authority().map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let port = at.strip_prefix(uri.host().unwrap_or_default()).unwrap_or_default();
    let right = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if known && right && uri.host().is_some_and(|host| !host.is_empty()) { Ok(uri) } else { Err(no_address()) }
}

/// A value that may be an address, without what stands before the last `@` in it.
fn without_credentials(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((before, after)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…@{after}"),
            None => format!("…@{after}"),
        },
        None => value.to_owned(),
    }
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The context of a kubeconfig that is chosen.
fn context<'a>(file: &'a Kubeconfig, options: &KubeConfigOptions) -> Result<&'a Context, KubeconfigError> {
    let name =
        options.context.as_ref().or(file.current_context.as_ref()).ok_or(KubeconfigError::CurrentContextNotSet)?;
    let named = file.contexts.iter().find(|named| named.name == *name);
    named.and_then(|named| named.context.as_ref()).ok_or_else(|| KubeconfigError::LoadContext(name.clone()))
}

/// The cluster of that name.
fn cluster<'a>(file: &'a Kubeconfig, name: &str) -> Option<&'a Cluster> {
    file.clusters.iter().find(|named| named.name == name)?.cluster.as_ref()
}

/// What a kubeconfig says of the proxy to the cluster that is chosen.
#[must_use]
pub fn said<'a>(file: &'a Kubeconfig, options: &KubeConfigOptions) -> Option<&'a str> {
    let name = match &options.cluster {
        Some(name) => name,
        None => &context(file, options).ok()?.cluster,
    };
    cluster(file, name)?.proxy_url.as_deref()
}

/// What a kubeconfig says, whatever `NO_PROXY` has. Which proxy leads there is not in it: that is [`Surroundings::proxy`]'s to say.
///
/// # Errors
/// It has no such context, or something in it cannot be used.
pub async fn read(file: Kubeconfig, options: &KubeConfigOptions) -> Result<Config, KubeconfigError> {
    let read = match Config::from_custom_kubeconfig(file.clone(), options).await {
        Err(KubeconfigError::ParseNoProxy(_) | KubeconfigError::ParseProxyUrl(_)) => read_ourselves(&file, options),
        read => read,
    };
    read.map(|mut config| {
        config.proxy_url = None;
        config
    })
}

/// What the library makes of a kubeconfig, without a look at the environment. A test holds it to that.
fn read_ourselves(file: &Kubeconfig, options: &KubeConfigOptions) -> Result<Config, KubeconfigError> {
    let context = context(file, options)?;
    let name = options.cluster.as_ref().unwrap_or(&context.cluster);
    let cluster = cluster(file, name).ok_or_else(|| KubeconfigError::LoadClusterOfContext(name.clone()))?;
    let user = options.user.as_ref().or(context.user.as_ref());
    let user = user.and_then(|user| file.auth_infos.iter().find(|named| named.name == *user));
    // The one way to have the library read what a cluster's certificates are in.
    let of_cluster = ExecAuthCluster::try_from(cluster)?;
    let server = cluster.server.as_ref().ok_or(KubeconfigError::MissingClusterUrl)?;
    let mut config = Config::new(server.parse().map_err(KubeconfigError::ParseClusterUrl)?);
    if let Some(namespace) = &context.namespace {
        config.default_namespace.clone_from(namespace);
    }
    config.auth_info = user.and_then(|named| named.auth_info.clone()).unwrap_or_default();
    if let Some(authorities) = &of_cluster.certificate_authority_data {
        let certificates = pem::parse_many(authorities).map_err(KubeconfigError::ParseCertificates)?;
        let certificates = certificates.into_iter().filter(|block| block.tag() == "CERTIFICATE");
        config.root_cert = Some(certificates.map(pem::Pem::into_contents).collect());
    }
    if let Some(exec) = config.auth_info.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some(of_cluster);
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    Ok(config)
}

/// The API server that a process is to talk to which is told nothing: as the kubeconfig says, or the one whose pod it is in.
///
/// # Errors
/// There is neither, or what is to be a proxy is none.
pub async fn infer() -> Result<Config, Unfit> {
    let options = KubeConfigOptions::default();
    if let Ok(file) = Kubeconfig::read() {
        let proxy = said(&file, &options).map(str::to_owned);
        if let Ok(mut config) = read(file, &options).await {
            config.proxy_url = Surroundings::here().proxy(&config.cluster_url, proxy.as_deref())?;
            return Ok(config);
        }
    }
    Ok(Config::infer().await?)
}

/// Why there is no API server to talk to.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Nothing says which one.
    #[error("no connection to Kubernetes: set KUBECONFIG, or run inside a cluster with a ServiceAccount")]
    Nowhere(#[from] InferConfigError),
    /// Of the way there something wrong is said.
    #[error(transparent)]
    Proxy(#[from] NoAddress),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_used_for_what_is_neither_here_nor_named_apart() {
        let p = "http://proxy:3128";
        // HTTPS_PROXY, NO_PROXY, proxy-url, the server, and by which proxy it is reached.
        let table = [
            ("", "", "", "https://10.0.0.1:6443", None),
            (p, "", "", "https://10.0.0.1:6443", Some("http://proxy:3128/")),
            ("proxy:3128", "", "", "https://k8s.example.com", Some("http://proxy:3128/")),
            ("http://me:secret@proxy:3128", "", "", "https://k8s.example.com", Some("http://me:secret@proxy:3128/")),
            ("socks5://proxy:1080", "", "", "https://k8s.example.com", Some("socks5://proxy:1080/")),
            // This machine never is.
            (p, "", "", "https://127.0.0.1:6443", None),
            (p, "", "", "https://[::1]:6443", None),
            (p, "", "", "https://localhost:6443", None),
            // Names, networks, ports, blanks, a comma at the end; and what only looks like it.
            (p, "10.0.0.0/8, other,", "", "https://10.0.0.1:6443", None),
            (p, "10.0.0.1", "", "https://10.0.0.1:6443", None),
            (p, "10.0.0.2", "", "https://10.0.0.1:6443", Some("http://proxy:3128/")),
            (p, "example.com", "", "https://k8s.example.com", None),
            (p, ".example.com", "", "https://k8s.example.com", None),
            (p, "*.example.com", "", "https://k8s.example.com", None),
            (p, "ample.com", "", "https://k8s.example.com", Some("http://proxy:3128/")),
            (p, "*", "", "https://k8s.example.com", None),
            (p, "k8s.example.com:443", "", "https://k8s.example.com", None),
            (p, "k8s.example.com:6443", "", "https://k8s.example.com", Some("http://proxy:3128/")),
            (p, "[fd00::1]:6443", "", "https://[fd00::1]:6443", None),
            (p, "fd00::1", "", "https://[fd00::1]:6443", None),
            // That it names the proxy says nothing of the server.
            (p, "proxy", "", "https://k8s.example.com", Some("http://proxy:3128/")),
            // HTTPS_PROXY is for TLS alone.
            (p, "", "", "http://k8s.example.com:8080", None),
            // What the kubeconfig says counts before all of it.
            (p, "*", "socks5://jump:1080", "https://127.0.0.1:6443", Some("socks5://jump:1080/")),
        ];
        for (https, none, said, server, proxy) in table {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let named = |name: &str, text: &str| some(text).map(|value| (name.to_owned(), value));
            let surroundings =
                Surroundings { https: named("HTTPS_PROXY", https), http: None, none: named("NO_PROXY", none) };
            let found = surroundings.proxy(&server.parse().unwrap(), some(said).as_deref()).unwrap();
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), proxy, "{https} {none} {said} {server}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_where_it_counts_and_shows_no_credentials() {
        let of = |value: &str| Surroundings {
            https: Some(("https_proxy".to_owned(), value.to_owned())),
            ..Surroundings::default()
        };
        let (there, here): (Uri, Uri) =
            ("https://k8s.example.com".parse().unwrap(), "https://127.0.0.1:6443".parse().unwrap());
        for (value, shown) in [
            ("http://pro xy:3128", "http://pro xy:3128"),
            ("http://me:secret@pro xy:3128", "http://…@pro xy:3128"),
            ("me:secret/@:@pro xy", "…@pro xy"),
            ("http://proxy:port", "http://proxy:port"),
            ("http://proxy:99999", "http://proxy:99999"),
            ("http://me:secret@proxy:port", "http://…@proxy:port"),
            ("http://[::1:3128", "http://[::1:3128"),
            ("http://:3128", "http://:3128"),
            ("http://", "http://"),
            ("ftp://me:secret@proxy:21", "ftp://…@proxy:21"),
        ] {
            let refused = of(value).proxy(&there, None).unwrap_err().to_string();
            assert!(
                refused.starts_with(&format!("https_proxy is {shown:?}")) && !refused.contains("secret"),
                "{refused}"
            );
            let said = Surroundings::default().proxy(&there, Some(value)).unwrap_err().to_string();
            assert!(said.starts_with(&format!("proxy-url of the kubeconfig is {shown:?}")), "{said}");
            assert_eq!(of(value).proxy(&here, None), Ok(None), "none leads there: {value}");
        }
        for value in
            ["http://[fd00::1]:3128", "http://[fd00::1]", "HTTP://proxy", "https://me:p%40@proxy:443/", "proxy"]
        {
            assert!(of(value).proxy(&there, None).unwrap().is_some(), "{value}");
        }
    }

    #[test]
    fn what_a_kubeconfig_says_is_of_the_cluster_that_is_chosen() {
        let file = Kubeconfig::from_yaml(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n- {name: a, context: {cluster: one, user: u}}\n\
             - {name: b, context: {cluster: two, user: u}}\nclusters:\n- {name: one, cluster: {server: 'https://one', proxy-url: 'http://p'}}\n\
             - {name: two, cluster: {server: 'https://two'}}\n",
        )
        .unwrap();
        let options = |context: Option<&str>, cluster: Option<&str>| KubeConfigOptions {
            context: context.map(str::to_owned),
            cluster: cluster.map(str::to_owned),
            user: None,
        };
        for (context, cluster, proxy) in
            [(None, None, Some("http://p")), (Some("b"), None, None), (Some("b"), Some("one"), Some("http://p"))]
        {
            assert_eq!(said(&file, &options(context, cluster)), proxy, "{context:?} {cluster:?}");
        }
    }

    #[tokio::test]
    async fn what_we_read_ourselves_is_what_the_library_reads() {
        let authority = pem::encode(&pem::Pem::new("CERTIFICATE", [7; 60]));
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &authority);
        let folder = std::env::temp_dir().join(format!("testkit-proxy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca"), &authority).unwrap();
        let file = Kubeconfig::from_yaml(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n\
             - {{name: a, context: {{cluster: one, user: exec, namespace: there}}}}\n\
             - {{name: b, context: {{cluster: two, user: token}}}}\n\
             - {{name: c, context: {{cluster: three}}}}\n- {{name: d, context: {{cluster: gone}}}}\n\
             - {{name: e, context: {{cluster: four}}}}\n- {{name: f, context: {{cluster: five}}}}\nclusters:\n\
             - {{name: one, cluster: {{server: 'https://one:6443/k8s', certificate-authority-data: {data}}}}}\n\
             - {{name: two, cluster: {{server: 'https://two', certificate-authority: '{}', tls-server-name: api}}}}\n\
             - {{name: three, cluster: {{server: 'https://three', insecure-skip-tls-verify: true, disable-compression: true}}}}\n\
             - {{name: four, cluster: {{}}}}\n- {{name: five, cluster: {{server: 'https://five', certificate-authority: /nonexistent}}}}\n\
             users:\n- {{name: token, user: {{token: t, as: somebody}}}}\n- name: exec\n  user:\n    exec: {{apiVersion: \
             client.authentication.k8s.io/v1, command: x, provideClusterInfo: true}}\n",
            folder.join("ca").display()
        ))
        .unwrap();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let table = [
            ("", "", ""),
            ("b", "", ""),
            ("c", "", ""),
            ("c", "one", "token"),
            ("a", "two", "nobody"),
            // What is wrong is the same, too.
            ("nope", "", ""),
            ("d", "", ""),
            ("e", "", ""),
            ("f", "", ""),
        ];
        for (context, cluster, user) in table {
            let options = KubeConfigOptions { context: some(context), cluster: some(cluster), user: some(user) };
            // Without the proxy, as the test's own environment may have one.
            let shown = |read: Result<Config, KubeconfigError>| {
                let read = read.map(|mut config| {
                    config.proxy_url = None;
                    format!("{config:?}")
                });
                read.map_err(|e| e.to_string())
            };
            let ours = shown(read_ourselves(&file, &options));
            assert_eq!(
                ours,
                shown(Config::from_custom_kubeconfig(file.clone(), &options).await),
                "{context} {cluster} {user}"
            );
            assert_eq!(ours.is_ok(), !["nope", "d", "e", "f"].contains(&context), "{context}: {ours:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
