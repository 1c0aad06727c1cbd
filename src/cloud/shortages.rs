//! What an account does not get, of late: instance types without capacity, over the quota or
//! not permitted.
//!
//! It is a matter of the account and region, so all their clusters share one memory of it: what
//! one was refused, the others need not ask for. Losing it costs calls, never an instance.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::CloudError;

/// How long an instance type that had no capacity is passed over. AWS asks for "a few
/// minutes"; a pool of test clusters prefers to look again sooner.
const CAPACITY: SignedDuration = SignedDuration::from_secs(60);

/// How long one over the quota or not permitted is passed over at first. Doubled each time.
const FIRST: SignedDuration = SignedDuration::from_secs(15);

/// The longest that is passed over for: a quota that was raised is used soon enough.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// An instance type in a subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// The type.
    pub instance_type: String,
    /// The subnet; `None` for the cloud's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Spot instead of on-demand, which has a capacity and a quota of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spot: bool,
}

/// Why an offering is not to be had, by who can end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// The cloud has none now: it passes by itself.
    Capacity,
    /// The account has too many, or may have none.
    Quota,
    /// The credentials may not launch it.
    Permission,
}

impl Lack {
    /// What a launch was refused for, where another offering may do.
    #[must_use]
    pub fn of(error: &CloudError) -> Option<Self> {
        match error {
            CloudError::Capacity(_) => Some(Self::Capacity),
            CloudError::Quota(_) => Some(Self::Quota),
            // Of the permissions a launch needs, only this one can depend on the instance type.
            CloudError::Unauthorized { permission: Some(permission), .. } if permission == "ec2:RunInstances" => {
                Some(Self::Permission)
            }
            CloudError::Unauthorized { .. }
            | CloudError::Invalid(_)
            | CloudError::Ended
            | CloudError::Throttled(_)
            | CloudError::Refused(_)
            | CloudError::Unavailable(_) => None,
        }
    }

    /// What an instance lacked that was accepted and came to nothing, by the code of the cloud's reason, where another
    /// offering may do: those of EC2's `StateReason` that say what RunInstances says of a type. Other limits
    /// (`Client.VolumeLimitExceeded`) are the same for every type, and a spot instance that was taken back
    /// (`Server.SpotInstanceTermination`) was one first.
    #[must_use]
    pub fn of_end(code: &str) -> Option<Self> {
        match code.split_once('.')?.1 {
            "InsufficientInstanceCapacity" | "InsufficientHostCapacity" | "InsufficientCapacity" => {
                Some(Self::Capacity)
            }
            "InstanceLimitExceeded" | "VcpuLimitExceeded" | "MaxSpotInstanceCountExceeded" => Some(Self::Quota),
            _ => None,
        }
    }
}

/// An offering that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Why.
    pub lack: Lack,
    /// The cloud's words.
    pub words: String,
    /// Until when.
    pub until: Timestamp,
    /// For how long at a time, by now.
    pause: SignedDuration,
}

impl Shortage {
    /// One that begins now.
    #[must_use]
    pub fn new(lack: Lack, words: &str, now: Timestamp) -> Self {
        let pause = if lack == Lack::Capacity { CAPACITY } else { FIRST };
        Self { lack, words: words.to_owned(), until: after(now, pause), pause }
    }

    /// The same refusal once more. One of the same volley (it is passed over already) is no second one.
    fn again(&mut self, new: Self, now: Timestamp) {
        if self.until > now && self.lack == new.lack {
            return;
        }
        let longer = self.lack == new.lack && self.lack != Lack::Capacity;
        let pause = if longer { (self.pause * 2).min(LONGEST) } else { new.pause };
        *self = Self { until: after(now, pause), pause, ..new };
    }
}

fn after(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.checked_add(pause).unwrap_or(now)
}

/// The shortages of an account in one region, as credentials of it meet them.
#[derive(Clone, Debug, Default)]
pub struct Shortages {
    all: Arc<Mutex<BTreeMap<Key, Shortage>>>,
    /// Which credentials.
    by: String,
}

/// Whether a launch is permitted hangs on who asks and on all that is asked for (image, groups, profile), and not on
/// the offering alone: such a refusal speaks only for launches that ask for the same.
type Key = (Offering, Option<(String, String)>);

impl Shortages {
    /// The same account's, as other credentials of it meet them.
    #[must_use]
    pub fn by(&self, credentials: &str) -> Self {
        Self { all: Arc::clone(&self.all), by: credentials.to_owned() }
    }

    /// Those of these offerings, for launches by this template.
    #[must_use]
    pub fn of(&self, offerings: impl IntoIterator<Item = Offering>, template: &str) -> BTreeMap<Offering, Shortage> {
        let all = self.all();
        let longest = |o: &Offering| {
            let keys = [None, Some(self.asks(template))].map(|who| (o.clone(), who));
            keys.iter().filter_map(|k| all.get(k)).max_by_key(|s| s.until).cloned()
        };
        offerings.into_iter().filter_map(|o| longest(&o).map(|shortage| (o, shortage))).collect()
    }

    /// Remembers that an offering was refused.
    pub fn note(&self, offering: &Offering, template: &str, lack: Lack, words: &str, now: Timestamp) {
        let mut all = self.all();
        // What nobody has asked for since is old news.
        all.retain(|_, s| after(s.until, LONGEST) > now);
        let new = Shortage::new(lack, words, now);
        let key = (offering.clone(), (lack == Lack::Permission).then(|| self.asks(template)));
        all.entry(key).and_modify(|s| s.again(new.clone(), now)).or_insert(new);
    }

    /// An offering was had. What was refused at the same moment stays refused.
    pub fn had(&self, offering: &Offering, template: &str, now: Timestamp) {
        let asks = self.asks(template);
        self.all().retain(|(o, who), s| o != offering || who.as_ref().is_some_and(|w| *w != asks) || s.until > now);
    }

    /// Instances of the account ended, so that the quota has room.
    pub fn freed(&self, now: Timestamp) {
        for shortage in self.all().values_mut().filter(|s| s.lack == Lack::Quota) {
            shortage.until = shortage.until.min(now);
        }
    }

    /// A person changed what is asked for: these offerings are tried again at once.
    pub fn retry(&self, offerings: impl IntoIterator<Item = Offering>) {
        let mut all = self.all();
        for offering in offerings {
            all.retain(|(o, _), _| *o != offering);
        }
    }

    fn asks(&self, template: &str) -> (String, String) {
        (self.by.clone(), template.to_owned())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Shortage>> {
        // Every change is whole by itself.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn offering(instance_type: &str) -> Offering {
        Offering { instance_type: instance_type.to_owned(), subnet: None, spot: false }
    }

    fn at(seconds: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(seconds)
    }

    fn until(shortages: &Shortages, template: &str) -> Option<Timestamp> {
        shortages.of([offering("t3.medium")], template).into_values().next().map(|s| s.until)
    }

    #[test]
    fn the_pause_grows_with_each_refusal_but_not_within_a_volley() {
        for (lack, pauses) in [
            (Lack::Capacity, vec![60, 60, 60]),
            (Lack::Quota, vec![15, 30, 60, 120, 240, 480, 600, 600]),
            (Lack::Permission, vec![15, 30, 60, 120]),
        ] {
            let shortages = Shortages::default();
            let mut now = NOW;
            for pause in pauses {
                for _ in 0..3 {
                    shortages.note(&offering("t3.medium"), "t", lack, "no", now);
                }
                let next = now + SignedDuration::from_secs(pause);
                assert_eq!(until(&shortages, "t"), Some(next), "{lack:?} after {pause}");
                now = next;
            }
        }
    }

    #[test]
    fn what_ends_for_want_of_its_type_is_told_from_what_ends_for_something_else() {
        for (code, lack) in [
            ("Server.InsufficientInstanceCapacity", Some(Lack::Capacity)),
            ("Client.InstanceLimitExceeded", Some(Lack::Quota)),
            ("Client.VolumeLimitExceeded", None),
            ("Client.InvalidSnapshot.NotFound", None),
            ("Client.InternalError", None),
            ("Client.UserInitiatedShutdown", None),
            ("Server.InternalError", None),
            ("Server.SpotInstanceTermination", None),
            ("", None),
        ] {
            assert_eq!(Lack::of_end(code), lack, "{code}");
        }
    }

    #[test]
    fn what_is_had_is_not_short_any_more() {
        let shortages = Shortages::default();
        shortages.note(&offering("t3.medium"), "t", Lack::Quota, "no", NOW);
        shortages.had(&offering("t3.medium"), "t", at(1));
        assert_eq!(until(&shortages, "t"), Some(at(15)), "another launch of the same volley was refused");
        shortages.had(&offering("t3.medium"), "t", at(15));
        assert_eq!(until(&shortages, "t"), None);
    }

    #[test]
    fn a_missing_permission_speaks_for_the_same_launch_only() {
        let shortages = Shortages::default();
        shortages.note(&offering("t3.medium"), "with a profile", Lack::Permission, "no", NOW);
        assert_eq!(until(&shortages, "with a profile"), Some(at(15)));
        assert_eq!(until(&shortages, "without"), None);
        shortages.note(&offering("t3.medium"), "with a profile", Lack::Capacity, "full", NOW);
        assert_eq!(until(&shortages, "without"), Some(at(60)));
    }

    #[test]
    fn credentials_of_one_account_share_what_is_the_accounts() {
        let ones = Shortages::default().by("one");
        let others = ones.by("other");
        ones.note(&offering("t3.medium"), "t", Lack::Permission, "no", NOW);
        assert_eq!((until(&ones, "t"), until(&others, "t")), (Some(at(15)), None));
        ones.note(&offering("t3.medium"), "t", Lack::Quota, "no", at(5));
        assert_eq!(until(&others, "t"), Some(at(20)));
        others.had(&offering("t3.medium"), "t", at(30));
        assert_eq!(
            (until(&ones, "t"), until(&others, "t")),
            (Some(at(15)), None),
            "who may launch it is another matter"
        );
    }

    #[test]
    fn room_in_the_quota_and_a_changed_spec_are_taken_up_at_once() {
        let shortages = Shortages::default();
        shortages.note(&offering("t3.medium"), "t", Lack::Quota, "no", NOW);
        shortages.freed(at(3));
        assert_eq!(until(&shortages, "t"), Some(at(3)));
        shortages.note(&offering("t3.medium"), "t", Lack::Quota, "no", at(3));
        assert_eq!(until(&shortages, "t"), Some(at(33)), "and grows on where it was");
        shortages.retry([offering("t3.medium")]);
        assert_eq!(until(&shortages, "t"), None);
    }
}
