//! What says which API server is asked, and as whom: kubectl's own options.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use kube::{
    Config,
    config::{AuthInfo, KubeConfigOptions},
};

use crate::{api, cli::failure::Failure};

/// kubectl's own options.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes options")]
pub struct ConnectionArgs {
    /// The namespace to work in [default: the context's]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig to use [default: the current one]
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// The kubeconfig file to use [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster of the kubeconfig to use [default: the context's]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub kube_cluster: Option<String>,
    /// The user of the kubeconfig to use [default: the context's]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub user: Option<String>,
    /// The API server's address, in place of the kubeconfig's
    #[arg(short, long, global = true, value_name = "URL", hide_short_help = true)]
    pub server: Option<String>,
    /// A bearer token, in place of the user's credentials; whoever sees the processes of this machine sees it
    #[arg(long, global = true, value_name = "TOKEN", hide_short_help = true)]
    pub token: Option<Hidden>,
    /// The name that the API server's certificate must have [default: its address]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// Take whatever certificate the API server shows: then anybody in between can read and change everything
    #[arg(long, global = true, hide_short_help = true, conflicts_with = "certificate_authority")]
    pub insecure_skip_tls_verify: bool,
    /// A file with the certificates of those who may sign the API server's
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath, hide_short_help = true)]
    pub certificate_authority: Option<PathBuf>,
    /// The user to act as, such as system:serviceaccount:ci:runner
    #[arg(long = "as", global = true, value_name = "USER", hide_short_help = true)]
    pub as_user: Option<String>,
    /// A group to act as; may be given more than once
    #[arg(long, global = true, value_name = "GROUP", hide_short_help = true, requires = "as_user")]
    pub as_group: Vec<String>,
    /// The UID to act as
    #[arg(long, global = true, value_name = "UID", hide_short_help = true, requires = "as_user")]
    pub as_uid: Option<String>,
    /// How long one request may take, such as 10s or 1m; 0 for as long as it takes
    #[arg(long, global = true, value_name = "DURATION", hide_short_help = true)]
    pub request_timeout: Option<RequestTimeout>,
}

/// Something that is nobody's to see in a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How long a request may take; none for as long as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTimeout(Option<Duration>);

impl FromStr for RequestTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // As kubectl takes it: a number without a unit counts seconds.
        match text.trim_end_matches(['s', 'm', 'h']).parse::<u64>() {
            Ok(0) => Ok(Self(None)),
            Ok(seconds) if text.ends_with(|c: char| c.is_ascii_digit()) => Ok(Self(Some(Duration::from_secs(seconds)))),
            _ => text.parse::<api::Duration>().map(|d| Self(Some(d.get()))),
        }
    }
}

impl ConnectionArgs {
    /// What of the kubeconfig is used.
    pub(super) fn of_kubeconfig(&self) -> KubeConfigOptions {
        KubeConfigOptions { context: self.context.clone(), cluster: self.kube_cluster.clone(), user: self.user.clone() }
    }

    /// The server that is named in place of the kubeconfig's.
    pub(super) fn server(&self) -> Result<Option<hyper::Uri>, Failure> {
        let Some(server) = &self.server else { return Ok(None) };
        let url = if server.contains("://") { server.clone() } else { format!("http://{server}") };
        match url.parse::<hyper::Uri>() {
            Ok(uri) if uri.host().is_some() => Ok(Some(uri)),
            _ => Err(Failure::new(format!("--server {server:?} is no address"))
                .help("--server https://10.0.0.1:6443")
                .usage()),
        }
    }

    /// Changes what the kubeconfig says to what these options say.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), Failure> {
        if let Some(server) = self.server()? {
            config.cluster_url = server;
        }
        if let Some(name) = &self.tls_server_name {
            config.tls_server_name = Some(name.clone());
        }
        if let Some(file) = &self.certificate_authority {
            std::fs::metadata(file).map_err(|e| Failure::new(format!("{} cannot be read: {e}", file.display())))?;
            config.root_cert = None;
            config.root_cert_file = Some(file.clone());
            config.accept_invalid_certs = false;
        }
        if self.insecure_skip_tls_verify {
            config.accept_invalid_certs = true;
        }
        let auth = &mut config.auth_info;
        if let Some(Hidden(token)) = &self.token {
            // A certificate beside it would win at the API server.
            *auth = AuthInfo {
                token: Some(token.clone().into()),
                impersonate: auth.impersonate.take(),
                impersonate_groups: auth.impersonate_groups.take(),
                impersonate_uid: auth.impersonate_uid.take(),
                ..AuthInfo::default()
            };
        }
        if let Some(user) = &self.as_user {
            auth.impersonate = Some(user.clone());
            auth.impersonate_groups = Some(self.as_group.clone()).filter(|groups| !groups.is_empty());
            auth.impersonate_uid.clone_from(&self.as_uid);
        }
        if let Some(RequestTimeout(limit)) = self.request_timeout {
            config.connect_timeout = limit;
            config.read_timeout = limit;
            config.write_timeout = limit;
            config.reset_reader_on_write = true;
            // Requests that are sent again after an error would take their time more than once.
            config.default_retry = limit.is_none();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    type Line = crate::cli::Line<ConnectionArgs>;

    fn applied(line: &[&str]) -> Config {
        let args = Line::parse_from([&["kubectl-testkit"], line].concat()).args;
        let mut config = Config::new("https://there:6443".parse().unwrap());
        config.auth_info.client_key = Some("/key".to_owned());
        config.auth_info.impersonate_groups = Some(vec!["before".to_owned()]);
        args.apply(&mut config).unwrap();
        config
    }

    #[test]
    fn options_win_over_the_kubeconfig() {
        let config = applied(&["-s", "https://other:1", "--tls-server-name", "api", "--insecure-skip-tls-verify"]);
        assert_eq!(config.cluster_url.to_string(), "https://other:1/");
        assert_eq!((config.tls_server_name.as_deref(), config.accept_invalid_certs), (Some("api"), true));
        assert_eq!(applied(&["-s", "10.0.0.1:8080"]).cluster_url.to_string(), "http://10.0.0.1:8080/");
        let config = applied(&["--as", "ci", "--as-group", "a", "--as-group", "b", "--as-uid", "7"]);
        assert_eq!(config.auth_info.impersonate.as_deref(), Some("ci"));
        assert_eq!(config.auth_info.impersonate_groups, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(config.auth_info.impersonate_uid.as_deref(), Some("7"));
        // Somebody else's groups are not the user's who is named.
        assert_eq!(applied(&["--as", "ci"]).auth_info.impersonate_groups, None);
        assert!(Line::try_parse_from(["x", "--as-group", "a"]).is_err());
    }

    #[test]
    fn a_token_takes_the_place_of_all_credentials_and_is_not_shown() {
        let line = ["x", "--token", "hunter2"];
        let config = applied(&line[1..]);
        assert!(config.auth_info.token.is_some() && config.auth_info.client_key.is_none());
        let args = Line::parse_from(line).args;
        assert!(!format!("{args:?} {config:?}").contains("hunter2"));
    }

    #[test]
    fn a_request_may_take_what_is_said() {
        for (text, seconds) in [("5s", Some(5)), ("7", Some(7)), ("1m30s", Some(90)), ("0", None), ("0s", None)] {
            assert_eq!(text.parse(), Ok(RequestTimeout(seconds.map(Duration::from_secs))), "{text}");
        }
        assert!("soon".parse::<RequestTimeout>().is_err());
        let config = applied(&["--request-timeout", "5s"]);
        assert_eq!(config.read_timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let args = Line::parse_from(["x", "--certificate-authority", "/nonexistent/ca"]).args;
        let mut config = Config::new("https://there".parse().unwrap());
        assert!(args.apply(&mut config).unwrap_err().what().contains("/nonexistent/ca"));
    }
}
