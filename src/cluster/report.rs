//! Writes to and reads from the API server around a pass: finalizer, status, Events, credentials.

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{
    Resource, ResourceExt,
    api::{Patch, PatchParams},
};

use super::{
    Context,
    act::Outcome,
    cost::cost,
    losses::Cause,
    plan::{Plan, World},
    status, template,
    trouble::Trouble,
};
use crate::{
    api::{FINALIZER, MANAGER, SwarmCluster, SwarmClusterStatus, is_true, reason, type_},
    events::Severity,
    metrics::metrics,
};

/// Puts our finalizer on the object.
pub async fn add_finalizer(context: &Context, cluster: &SwarmCluster) -> Result<(), kube::Error> {
    let mut finalizers = cluster.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    let patch = serde_json::json!({
        "metadata": { "finalizers": finalizers, "resourceVersion": cluster.resource_version() }
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    context.objects(cluster).patch(&cluster.name_any(), &params, &Patch::Merge(patch)).await.map(drop)
}

/// Tells what is worth an Event of its own of a cluster that was let go.
pub async fn news(context: &Context, cluster: &SwarmCluster, plan: &Plan) {
    for (told, note) in &plan.news {
        publish(context, cluster, Severity::Warning, told, note, None).await;
    }
}

/// Writes the status where it differs from what is there, and an Event where the verdict does. Says whether the cluster is ready.
pub async fn report(
    context: &Context,
    cluster: &SwarmCluster,
    world: &World,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<bool, kube::Error> {
    let uid = cluster.uid().unwrap_or_default();
    let said = context.remember(&uid, |memory| memory.cost.clone());
    let said = said.or_else(|| cluster.status.as_ref()?.cost.clone());
    let cost = cost(&cluster.spec, world.instances.as_deref(), context.prices.as_ref(), said.as_ref(), now);
    let new = SwarmClusterStatus { cost, ..status::status(cluster, world, plan, outcome, now) };
    let ready = is_true(&new.conditions, type_::READY);
    metrics().clusters.note(cluster, &new, now);
    metrics().costs.note(cluster, new.cost.as_ref(), now);
    for (slot, losses) in plan.lost.iter().filter(|_| outcome.saved) {
        let stalls = losses.stalls(&template::terms(&cluster.spec, &world.access));
        let updating = plan.updating.contains(slot);
        let trouble = Trouble::Lost { losses: losses.clone(), stalls, updating };
        let note = trouble.words(&format!("{}-{slot}", cluster.name_any()), &[]);
        // One that makes room for another came to nothing by our own will.
        let type_ = if losses.cause == Cause::Outdated { Severity::Normal } else { Severity::Warning };
        publish(context, cluster, type_, trouble.reason(), &note, Some(about(&losses.instance))).await;
        context.remember(&uid, |memory| memory.told = Some(trouble.reason()));
    }
    for (id, note) in plan.taken_back.iter().filter(|_| outcome.saved) {
        publish(context, cluster, Severity::Warning, reason::SPOT_INTERRUPTION, note, Some(about(id))).await;
        context.remember(&uid, |memory| memory.told = Some(reason::SPOT_INTERRUPTION));
    }
    for (told, note) in plan.news.iter().filter(|_| outcome.saved) {
        publish(context, cluster, Severity::Warning, told, note, None).await;
        if *told == reason::EXPIRES_SOON {
            context.remember(&uid, |memory| memory.warned = new.expires_at.as_ref().map(|t| t.0));
        }
    }
    for (failure, what) in &outcome.failures {
        tracing::warn!(cluster = world.name, %failure, "{what} failed");
    }
    if cluster.status.as_ref() == Some(&new) {
        return Ok(ready);
    }
    let patch = serde_json::json!({
        "apiVersion": SwarmCluster::api_version(&()),
        "kind": SwarmCluster::kind(&()),
        "status": new,
    });
    let params = PatchParams::apply(MANAGER).force();
    match context.objects(cluster).patch_status(&cluster.name_any(), &params, &Patch::Apply(patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(ready),
        Err(error) => return Err(error),
    }
    context.remember(&uid, |memory| memory.cost.clone_from(&new.cost));
    let verdict = |s: &SwarmClusterStatus| s.conditions.iter().find(|c| c.type_ == type_::READY).cloned();
    let Some(now) = verdict(&new) else { return Ok(ready) };
    let (wrote, told) = context
        .remember(&uid, |memory| (memory.verdict.replace(now.reason.clone()), memory.told == Some(&*now.reason)));
    let before = wrote.or_else(|| cluster.status.as_ref().and_then(verdict).map(|old| old.reason));
    // A loss has been told as an Event of its instance, more exactly; the verdict may follow a pass later.
    let told = (told || !plan.lost.is_empty()) && !is_true(&new.conditions, type_::STALLED);
    if before.as_ref() != Some(&now.reason) && !told {
        announce(context, cluster, &new, &now).await;
    }
    Ok(ready)
}

/// What an Event is about beside the cluster. Each instance has an Event of its own: those about the same are counted
/// as one.
fn about(instance: &str) -> ObjectReference {
    let name = Some(instance.to_owned()).filter(|id| !id.is_empty());
    ObjectReference { kind: Some("Instance".to_owned()), name, ..ObjectReference::default() }
}

/// One Event a change of the Ready condition's reason.
async fn announce(context: &Context, cluster: &SwarmCluster, new: &SwarmClusterStatus, now: &Condition) {
    let expected = [
        reason::LAUNCHING,
        reason::BOOTING,
        reason::JOINING,
        reason::UPDATING,
        reason::READY,
        reason::PAUSED,
        reason::DELETING,
    ];
    let good = expected.contains(&now.reason.as_str()) && !is_true(&new.conditions, type_::STALLED);
    let severity = if good { Severity::Normal } else { Severity::Warning };
    publish(context, cluster, severity, &now.reason, &now.message, None).await;
}

/// Writes an Event. One that cannot be written must not hold up the cluster.
async fn publish(
    context: &Context,
    cluster: &SwarmCluster,
    severity: Severity,
    reason: &str,
    note: &str,
    related: Option<ObjectReference>,
) {
    tracing::info!(cluster = cluster.name_any(), reason, "{note}");
    context.events.publish(&cluster.object_ref(&()), severity, "Reconcile", reason, note, related).await;
}
