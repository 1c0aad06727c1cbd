//! Which of the objects are meant.

use kube::{api::ListParams, runtime::watcher};

/// Objects by their labels and fields.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    /// Only objects with these labels, such as team=net,env!=prod
    #[arg(short = 'l', long = "selector", id = "selector", value_name = "SELECTOR")]
    pub labels: Option<String>,
    /// Only objects with these fields, such as metadata.name=nightly; the API server knows name and namespace
    #[arg(long = "field-selector", id = "field_selector", value_name = "SELECTOR")]
    pub fields: Option<String>,
}

impl Pick {
    /// Whether it leaves any out.
    pub fn is_some(&self) -> bool {
        self.labels.is_some() || self.fields.is_some()
    }

    /// For a list.
    pub fn params(&self) -> ListParams {
        ListParams { label_selector: self.labels.clone(), field_selector: self.fields.clone(), ..ListParams::default() }
    }

    /// For a watch.
    pub fn watch(&self) -> watcher::Config {
        let config = watcher::Config::default();
        let config = self.labels.iter().fold(config, |config, labels| config.labels(labels));
        self.fields.iter().fold(config, |config, fields| config.fields(fields))
    }
}
