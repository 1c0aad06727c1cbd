//! Launching an instance of a slot, and the network it is launched into.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{Actor, Effect, Failure};
use crate::{
    api::{AddressKind, Ec2Provider},
    cloud::{CloudError, Lack, Launch, NetworkSpec, Offering},
    cluster::{
        credentials,
        keys::Keys,
        member::MemberId,
        plan::{self, Plan},
        pools::pools,
        template, user_data, words,
    },
    swarm::AddressPools,
};

/// What instances are launched into, and a swarm is begun on.
pub(super) struct Ground {
    pub security_groups: Vec<String>,
    pub pools: Result<AddressPools, String>,
}

impl Actor<'_> {
    /// The network of the cluster's instances. The cloud room remembers what it has made sure
    /// of, so that an idle cluster costs no calls.
    pub(super) async fn ground(&self, plan: &Plan) -> Result<Option<Ground>, Failure> {
        if self.observation.world.deleting
            || self.cluster.spec.paused
            || plan.hosts.is_empty() && plan.actions.is_empty()
        {
            return Ok(None);
        }
        // A group without rules for SSH would lock out the operator itself.
        let Some(access_cidrs) = self.observation.world.access.cidrs() else { return Ok(None) };
        let subnets = self.cloud.ec2.map(|e| e.subnets.clone()).unwrap_or_default();
        let spec = NetworkSpec { access_cidrs, subnets };
        if let Some(place) = credentials::place(self.cluster) {
            let noted = self.context.places.note(&place).await;
            noted.map_err(|e| Failure::Host(format!("writing down where is launched: {}", words::of(&e))))?;
        }
        let network = self.cloud.account.cloud.ensure_network(&self.owner, &spec).await?;
        let pools = pools(self.cluster.spec.engine.as_ref(), &network.cidrs);
        // A swarm that was begun keeps what it has; without one nothing is launched in vain.
        let begun = self.observation.world.journal.as_ref().is_some_and(|i| i.swarm.is_some());
        if let (Err(words), false) = (&pools, begun) {
            return Err(Failure::Spec(words.clone()));
        }
        let others = self.cloud.ec2.map(|e| e.security_groups.clone()).unwrap_or_default();
        let security_groups = [vec![network.security_group], others].concat();
        Ok(Some(Ground { security_groups, pools }))
    }

    /// What instances lacked that were accepted and came to nothing: no cluster of the account need try it now.
    pub(super) fn note_short(&self, plan: &Plan) {
        let Some(request) = self.cloud.ec2.map(template::request) else { return };
        for (offering, lack, words) in &plan.short {
            self.cloud.account.shortages.note(offering, &request, *lack, words, Timestamp::now());
        }
    }

    pub(super) async fn launch(
        &self,
        member: MemberId,
        offering: &Offering,
        ground: Option<&Ground>,
    ) -> Result<Effect, Failure> {
        let (Some(keys), Some(ground)) = (&self.observation.keys, ground) else { return Ok(Effect::Changed) };
        let Some(ec2) = self.cloud.ec2 else { return Ok(Effect::Waits) };
        let id = Keys::host_id(&self.owner.uid, member);
        let comment = format!("testkit {}", self.owner.name);
        let user_data = user_data::user_data(
            &keys.client.public_line(&comment),
            keys.seed.boot_key(&id).to_openssh().as_str(),
            self.cluster.spec.engine.as_ref(),
            self.cluster.spec.boot_timeout.get(),
        );
        if user_data.len() > user_data::LIMIT {
            let text = format!("spec.engine.daemonJson is too long: the user data may have {} bytes", user_data::LIMIT);
            return Err(Failure::Spec(text));
        }
        let launch = Launch {
            owner: self.owner.clone(),
            slot: member.slot.to_string(),
            name: format!("{}-{}", self.cluster.name_any(), member.slot),
            incarnation: member.incarnation,
            image: ec2.ami.clone().unwrap_or_else(Ec2Provider::default_ami),
            instance_type: offering.instance_type.clone(),
            subnet: offering.subnet.clone(),
            public_address: ec2.connect_to == AddressKind::Public,
            security_groups: ground.security_groups.clone(),
            spot: offering.spot,
            volume: ec2.volume.clone(),
            instance_profile: ec2.instance_profile.clone(),
            user_data,
        };
        let before = self.observation.world.journal.as_ref().and_then(|i| i.launching(member));
        let again = before.is_some_and(|l| l.offering == *offering);
        let (account, uid) = (&self.cloud.account, &self.owner.uid);
        self.context.remember(uid, |m| m.launches.attempt(member, offering, again, account.inventory.listened()));
        match account.cloud.launch(&launch).await {
            Ok(instance) => {
                tracing::info!(cluster = self.owner.name, slot = %member, instance = instance.id, instance_type = instance.instance_type, "launched");
                self.context.remember(uid, |m| m.launches.launched(member));
                account.shortages.had(offering, &template::request(ec2), Timestamp::now());
                account.inventory.note(instance);
                Ok(Effect::Changed)
            }
            Err(error) => self.refused(member, offering, error),
        }
    }

    /// A launch that failed: where certainly no instance was made and another launch may do, that is tried at once.
    fn refused(&self, member: MemberId, offering: &Offering, error: CloudError) -> Result<Effect, Failure> {
        let listened = self.cloud.account.inventory.listened();
        let free = self.context.remember(&self.owner.uid, |m| m.launches.note(member, offering, &error, listened));
        let lack = Lack::of(&error);
        if let (Some(lack), Some(ec2)) = (lack, self.cloud.ec2) {
            let request = template::request(ec2);
            self.cloud.account.shortages.note(offering, &request, lack, &error.to_string(), Timestamp::now());
        }
        // What was refused before the spec was corrected is nobody's concern any more.
        let asked = plan::all_offerings(&self.cluster.spec).any(|o| o == *offering);
        if free && (lack.is_some() || error == CloudError::Ended || !asked) {
            tracing::info!(cluster = self.owner.name, slot = %member, %error, "another way to launch is taken");
            return Ok(Effect::Changed);
        }
        Err(error.into())
    }
}
