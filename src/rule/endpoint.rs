//! The endpoints of this node's pods while the line is cut: what the mirror's EndpointSlices say of them may be dead, and this
//! node's kubelet, which tells the pods' status again every ten seconds, knows better.
//!
//! # The rules
//!
//! They are about endpoints of pods (`targetRef.kind` is `Pod`) only, and each holds for a slice up to the version that was
//! known when the rule came into force: a later one is of the cloud, which has been heard since, and is shown as it came.
//!
//! 1. A pod whose kubelet has told its status since the line was cut (by `targetRef.uid`) has the addresses that were told, of
//!    the slice's `addressType`, and is ready and serving as its `Ready` condition was told. What the kubelet does not say
//!    has not changed (`wire::podstatus`) and stays as the cloud had it.
//! 2. A pod that was told to have no address of that family any more keeps the dead one, unready: an endpoint must have one.
//! 3. A pod of this node (`nodeName`) that was not told of is unready, if the machine was booted and the agent started for the
//!    first time since, without the line: its addresses are those of the former boot. Without a reboot (the line was cut, or
//!    the agent alone was started again) nothing is changed that was not told. An agent that starts again in a boot without
//!    the line is told again within ten seconds; open clients know meanwhile what its predecessor showed them.
//! 4. Pods of other nodes, and what is no pod's, are not touched.
//! 5. An endpoint that is terminating does not become ready. One that is ready without serving (a Service that publishes
//!    addresses that are not ready) stays ready; of one that serves it is not known whether its Service does that.
//! 6. When the line is back, an endpoint whose addresses are right is shown as the cloud has it. The others stay as they are
//!    until the slice changes, a minute at the most ([`Phase`]): then all is as the cloud has it.
//!
//! Only what is shown changes. What is mirrored is what the cloud sent, and versions are the cloud's.

use core::net::IpAddr;
use std::time::Duration;
use std::time::Instant;

use crate::k8s::object::ResourceVersion;
use crate::wire::endpointslice;
use crate::wire::endpointslice::Change;
use crate::wire::endpointslice::Endpoint;
use crate::wire::podstatus::PodStatus;

/// How many pods are remembered; a node has some hundred at the most.
const PODS: usize = 1024;

/// How long after the line is back endpoints may be shown otherwise than the cloud has them: the kubelet tries every 10 s, and
/// then the cloud's controller has to change the slice.
const SETTLES: Duration = Duration::from_secs(60);

/// What this node knows of its pods that the cloud may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    node: String,
    cut_off: bool,
    booted: Option<ResourceVersion>,
    /// In the order of uids.
    told: Vec<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    uid: String,
    through: ResourceVersion,
    addresses: Option<Vec<IpAddr>>,
    ready: Option<bool>,
}

impl Overlay {
    /// Nothing is known yet on `node`. `booted`: the machine was booted since the cloud was heard, which slices were known up
    /// to that version from.
    pub fn new(node: &str, cut_off: bool, booted: Option<ResourceVersion>) -> Self {
        Self {
            node: node.to_owned(),
            cut_off,
            booted,
            told: Vec::new(),
        }
    }

    /// The line is cut, or is there again.
    pub fn cut_off(&mut self, cut_off: bool) {
        self.cut_off = cut_off;
    }

    /// Whether nothing would be shown otherwise.
    pub fn is_empty(&self) -> bool {
        self.booted.is_none() && self.told.is_empty()
    }

    /// Whether it knows already what it would be told.
    pub fn knows(&self, status: &PodStatus, through: ResourceVersion) -> bool {
        match self.find(&status.uid).map(|at| &self.told[at]) {
            Ok(told) => {
                told.through == through
                    && told.addresses == status.addresses
                    && told.ready == status.ready
            }
            Err(_) => {
                let nothing = status.addresses.is_none() && status.ready.is_none();
                nothing && self.booted.is_none() || self.told.len() >= PODS
            }
        }
    }

    /// A kubelet has told of a pod, when slices were known up to that version.
    pub fn tell(&mut self, status: PodStatus, through: ResourceVersion) {
        if self.knows(&status, through) {
            return;
        }
        let place = self.find(&status.uid);
        let told = Told {
            uid: status.uid,
            through,
            addresses: status.addresses,
            ready: status.ready,
        };
        match place {
            Ok(at) => self.told[at] = told,
            Err(at) => self.told.insert(at, told),
        }
    }

    fn find(&self, uid: &str) -> Result<usize, usize> {
        self.told.binary_search_by(|told| (*told.uid).cmp(uid))
    }

    /// The slice as it is shown, if that is not as it is. What can't be read is shown as it is.
    pub fn rewrite(&self, slice: &[u8], version: ResourceVersion) -> Option<Vec<u8>> {
        self.rewrite_as(self.cut_off, slice, version)
    }

    /// Whether the slice is shown otherwise than it is, or was before the line came back.
    pub fn concerns(&self, slice: &[u8], version: ResourceVersion) -> bool {
        self.rewrite_as(true, slice, version).is_some()
    }

    fn rewrite_as(&self, cut_off: bool, slice: &[u8], version: ResourceVersion) -> Option<Vec<u8>> {
        endpointslice::rewrite(slice, &|address_type, endpoint| {
            self.change(cut_off, version, address_type, endpoint)
        })
        .ok()
        .flatten()
    }

    fn change(
        &self,
        cut_off: bool,
        version: ResourceVersion,
        address_type: &str,
        endpoint: &Endpoint<'_>,
    ) -> Option<Change> {
        let pod = endpoint.pod.as_deref()?;
        let Ok(told) = self.find(pod).map(|at| &self.told[at]) else {
            let here = endpoint.node.as_deref() == Some(&self.node);
            if here && self.booted.is_some_and(|through| version <= through) {
                return conditions(endpoint, Some(false));
            }
            return None;
        };
        if version > told.through {
            return None;
        }
        let (mut lost, mut moved) = (false, None);
        if let (Some(all), "IPv4" | "IPv6") = (&told.addresses, address_type) {
            let four = address_type == "IPv4";
            let new: Vec<IpAddr> = all
                .iter()
                .copied()
                .filter(|one| one.is_ipv4() == four)
                .collect();
            let mut old = Vec::new();
            for text in &endpoint.addresses {
                old.extend(text.parse::<IpAddr>());
            }
            lost = new.is_empty();
            if !lost && new != old {
                moved = Some(new);
            }
        }
        if !cut_off && !lost && moved.is_none() {
            return None;
        }
        let ready = if lost { Some(false) } else { told.ready };
        let mut change = conditions(endpoint, ready).unwrap_or_default();
        change.addresses = moved.map(|new| new.iter().map(ToString::to_string).collect());
        (change != Change::default()).then_some(change)
    }
}

/// What has to change so that the endpoint is as ready as that.
fn conditions(endpoint: &Endpoint<'_>, ready: Option<bool>) -> Option<Change> {
    let ready = ready?;
    let was_ready = endpoint.ready.unwrap_or(true);
    let was_serving = endpoint.serving.unwrap_or(was_ready);
    let terminating = endpoint.terminating.unwrap_or(false);
    let published = was_ready && !was_serving;
    let change = Change {
        addresses: None,
        ready: Some(ready && !terminating).filter(|new| *new != was_ready && !published),
        serving: Some(ready).filter(|new| *new != was_serving),
    };
    (change != Change::default()).then_some(change)
}

/// Where a node stands between a cut and the cloud's having caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first connection is being made.
    Starting,
    /// The line is cut.
    CutOff,
    /// It is there again; until then the cloud has time to catch up.
    Back(Instant),
    /// All is as the cloud has it.
    Settled,
}

/// What has come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The agent started without the line.
    StartedCutOff,
    /// The line was cut.
    Cut,
    /// The line is there again.
    Back,
    /// All is as the cloud has it.
    Settled,
}

impl Phase {
    /// What comes about at `now`; `up`: the line is there, it is not, or that is not known yet.
    pub fn step(&mut self, up: Option<bool>, now: Instant) -> Option<Turn> {
        let (phase, turn) = match (*self, up?) {
            (Self::Starting, false) => (Self::CutOff, Turn::StartedCutOff),
            (Self::Starting, true) => (Self::Settled, Turn::Settled),
            (Self::Settled | Self::Back(_), false) => (Self::CutOff, Turn::Cut),
            (Self::CutOff, true) => (Self::Back(now + SETTLES), Turn::Back),
            (Self::Back(until), true) if now >= until => (Self::Settled, Turn::Settled),
            (Self::CutOff, false) | (Self::Back(_) | Self::Settled, true) => return None,
        };
        *self = phase;
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: ResourceVersion = ResourceVersion(100);

    fn slice(address_type: &str, endpoints: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"s"}},"addressType":"{address_type}","endpoints":[{endpoints}],"ports":[]}}"#
        )
    }

    fn endpoint(uid: &str, node: &str, addresses: &str, conditions: &str) -> String {
        format!(
            r#"{{"addresses":[{addresses}],"conditions":{{{conditions}}},"targetRef":{{"kind":"Pod","name":"p","uid":"{uid}"}},"nodeName":"{node}"}}"#
        )
    }

    fn told(uid: &str, addresses: Option<&[&str]>, ready: Option<bool>) -> PodStatus {
        let parsed = |text: &&str| text.parse().expect("an address");
        PodStatus {
            uid: uid.to_owned(),
            addresses: addresses.map(|all| all.iter().map(parsed).collect()),
            ready,
        }
    }

    fn shown(overlay: &Overlay, slice: &str) -> Option<String> {
        let rewritten = overlay.rewrite(slice.as_bytes(), V)?;
        Some(String::from_utf8(rewritten).expect("text"))
    }

    const READY: &str = r#""ready":true,"serving":true,"terminating":false"#;
    const UNREADY: &str = r#""ready":false,"serving":false,"terminating":false"#;

    #[test]
    fn a_told_pod_has_the_addresses_and_the_readiness_that_were_told() {
        let mut overlay = Overlay::new("n", true, None);
        overlay.tell(told("a", Some(&["10.0.0.9", "fd00::9"]), Some(true)), V);
        overlay.tell(told("b", None, Some(false)), V);
        let of = |a4: &str, conditions| {
            [
                endpoint("a", "n", a4, READY),
                endpoint("b", "n", r#""10.0.0.2""#, conditions),
                endpoint("c", "n", r#""10.0.0.3""#, READY),
                endpoint("a", "n", r#""10.0.0.9""#, READY),
            ]
            .join(",")
        };
        assert_eq!(
            shown(&overlay, &slice("IPv4", &of(r#""10.0.0.1""#, READY))),
            Some(slice("IPv4", &of(r#""10.0.0.9""#, UNREADY)))
        );
        assert_eq!(
            shown(
                &overlay,
                &slice("IPv6", &endpoint("a", "n", r#""fd00::1""#, READY))
            ),
            Some(slice("IPv6", &endpoint("a", "n", r#""fd00::9""#, READY)))
        );
        let same = slice("IPv6", &endpoint("a", "n", r#""fd00:0::0009""#, READY));
        assert_eq!(shown(&overlay, &same), None, "the same address");
        let name = slice("FQDN", &endpoint("a", "n", r#""a.example""#, READY));
        assert_eq!(shown(&overlay, &name), None, "not an address");
    }

    #[test]
    fn a_pod_without_an_address_is_unready_where_it_was() {
        let mut overlay = Overlay::new("n", true, None);
        overlay.tell(told("a", Some(&["fd00::9"]), Some(true)), V);
        let before = slice("IPv4", &endpoint("a", "n", r#""10.0.0.1""#, READY));
        let after = slice("IPv4", &endpoint("a", "n", r#""10.0.0.1""#, UNREADY));
        assert_eq!(shown(&overlay, &before), Some(after));
    }

    #[test]
    fn after_a_reboot_this_nodes_pods_are_unready_until_they_are_told_of() {
        let one = |uid, node, conditions| endpoint(uid, node, r#""10.0.0.1""#, conditions);
        let before = [one("a", "n", READY), one("b", "other", READY)].join(",");
        let service = r#"{"addresses":["10.0.0.7"],"nodeName":"n"}"#;
        let before = slice("IPv4", &format!("{before},{service}"));
        let mut overlay = Overlay::new("n", true, Some(V));
        let after = [one("a", "n", UNREADY), one("b", "other", READY)].join(",");
        let after = slice("IPv4", &format!("{after},{service}"));
        assert_eq!(shown(&overlay, &before), Some(after.clone()));
        overlay.cut_off(false);
        assert_eq!(
            shown(&overlay, &before),
            Some(after),
            "the line alone heals nothing"
        );
        overlay.cut_off(true);
        overlay.tell(told("a", None, None), V);
        assert_eq!(
            shown(&overlay, &before),
            None,
            "nothing has changed but that it runs"
        );
        let cut = Overlay::new("n", true, None);
        assert!(cut.is_empty() && shown(&cut, &before).is_none());
    }

    #[test]
    fn a_later_slice_is_the_clouds() {
        let mut overlay = Overlay::new("n", true, Some(V));
        overlay.tell(told("a", Some(&["10.0.0.9"]), None), V);
        let both = [
            endpoint("a", "n", r#""10.0.0.1""#, READY),
            endpoint("b", "n", r#""10.0.0.2""#, READY),
        ];
        let slice = slice("IPv4", &both.join(","));
        assert!(overlay.rewrite(slice.as_bytes(), V).is_some());
        let later = ResourceVersion(V.0 + 1);
        assert_eq!(overlay.rewrite(slice.as_bytes(), later), None);
        // Told again, it is known again.
        overlay.tell(told("a", Some(&["10.0.0.9"]), None), later);
        assert!(overlay.rewrite(slice.as_bytes(), later).is_some());
    }

    #[test]
    fn when_the_line_is_back_only_wrong_addresses_are_still_rewritten() {
        let mut overlay = Overlay::new("n", true, None);
        overlay.tell(told("a", Some(&["10.0.0.9"]), Some(false)), V);
        let right = slice("IPv4", &endpoint("a", "n", r#""10.0.0.9""#, READY));
        let wrong = slice("IPv4", &endpoint("a", "n", r#""10.0.0.1""#, READY));
        assert!(shown(&overlay, &right).is_some());
        overlay.cut_off(false);
        assert_eq!(shown(&overlay, &right), None);
        let unready = slice("IPv4", &endpoint("a", "n", r#""10.0.0.9""#, UNREADY));
        assert_eq!(shown(&overlay, &wrong), Some(unready));
    }

    #[test]
    fn terminating_and_published_endpoints_keep_what_makes_them_so() {
        let mut overlay = Overlay::new("n", true, None);
        overlay.tell(told("up", None, Some(true)), V);
        overlay.tell(told("down", None, Some(false)), V);
        let one = |uid, conditions| slice("IPv4", &endpoint(uid, "n", r#""10.0.0.1""#, conditions));
        for (uid, before, after) in [
            (
                "up",
                r#""ready":false,"serving":false,"terminating":true"#,
                Some(r#""ready":false,"serving":true,"terminating":true"#),
            ),
            (
                "up",
                r#""ready":true,"serving":false"#,
                Some(r#""ready":true,"serving":true"#),
            ),
            ("down", r#""ready":true,"serving":false"#, None),
            ("down", r#""ready":false,"serving":false"#, None),
            (
                "down",
                r#""ready":true"#,
                Some(r#""serving":false,"ready":false"#),
            ),
            ("up", "", None),
        ] {
            let after = after.map(|conditions| one(uid, conditions));
            assert_eq!(shown(&overlay, &one(uid, before)), after, "{uid} {before}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut overlay = Overlay::new("n", true, None);
        overlay.tell(told("nothing new", None, None), V);
        assert!(overlay.is_empty());
        for n in 0..PODS + 10 {
            overlay.tell(told(&n.to_string(), None, Some(false)), V);
        }
        assert_eq!(overlay.told.len(), PODS);
        overlay.tell(told("7", None, Some(true)), V);
        assert!(overlay.knows(&told("7", None, Some(true)), V));
    }

    #[test]
    fn a_cut_is_over_when_the_cloud_has_had_time_to_catch_up() {
        let start = Instant::now();
        let mut phase = Phase::Starting;
        assert_eq!(phase.step(None, start), None);
        assert_eq!(phase.step(Some(true), start), Some(Turn::Settled));
        assert_eq!(phase.step(Some(false), start), Some(Turn::Cut));
        assert_eq!(phase.step(Some(false), start), None);
        assert_eq!(phase.step(Some(true), start), Some(Turn::Back));
        assert_eq!(phase.step(Some(true), start), None);
        // A short return is none.
        assert_eq!(phase.step(Some(false), start + SETTLES), Some(Turn::Cut));
        assert_eq!(phase.step(Some(true), start + SETTLES), Some(Turn::Back));
        assert_eq!(phase.step(Some(true), start + SETTLES), None);
        assert_eq!(
            phase.step(Some(true), start + 2 * SETTLES),
            Some(Turn::Settled)
        );
        let mut phase = Phase::Starting;
        assert_eq!(phase.step(Some(false), start), Some(Turn::StartedCutOff));
    }
}
