//! Which runs are runs of one suite.

use super::{E2ERun, E2ERunStatus, ResultsFormat, label, reason, type_};

impl E2ERun {
    /// The suite that the run is of: what its label `testkit.dev/suite` says, or else its image without tag and digest.
    #[must_use]
    pub fn suite(&self) -> &str {
        let labelled = self.metadata.labels.as_ref().and_then(|labels| labels.get(label::SUITE));
        match labelled.filter(|suite| !suite.is_empty()) {
            Some(suite) => suite,
            None => repository(&self.spec.image),
        }
    }

    /// Its status, where it has ended and has cases of its own: what shards ran is told by the run that they are of.
    #[must_use]
    pub fn with_cases(&self) -> Option<&E2ERunStatus> {
        if self.spec.results.format == ResultsFormat::ExitCode || self.spec.shard.is_some() {
            return None;
        }
        self.status.as_ref().filter(|status| status.has_ended() && status.joined.is_none())
    }

    /// Whether somebody or something else ended it: then a case that failed says nothing of itself.
    #[must_use]
    pub fn was_cut_off(&self) -> bool {
        let ready = self.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == type_::READY);
        let cut = [reason::CANCELLED, reason::CLUSTER_GONE, reason::INFRASTRUCTURE, reason::CONTAINER_LOST];
        ready.is_some_and(|ready| cut.contains(&ready.reason.as_str()))
    }
}

/// An image's reference without tag and digest.
#[must_use]
pub fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    match image.rsplit_once(':') {
        // Before a slash it is the port of a registry.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_what_its_label_says_or_its_image_without_a_version() {
        for (image, labelled, suite) in [
            ("e2e", None, "e2e"),
            ("dockerswarm/e2e:latest", None, "dockerswarm/e2e"),
            ("localhost:5000/e2e", None, "localhost:5000/e2e"),
            ("registry.example.com:5000/team/e2e:V1_2-rc.1", None, "registry.example.com:5000/team/e2e"),
            ("e2e:1@sha256:ab", None, "e2e"),
            ("team/e2e@sha256:ab", None, "team/e2e"),
            ("e2e:1", Some("nightly"), "nightly"),
            ("e2e:1", Some(""), "e2e"),
        ] {
            let labels = labelled.map(|suite| serde_json::json!({label::SUITE: suite}));
            let run: E2ERun = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "a", "labels": labels}, "spec": {"image": image},
            }))
            .unwrap();
            assert_eq!(run.suite(), suite, "{image} {labelled:?}");
        }
    }
}
