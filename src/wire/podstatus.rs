//! What a kubelet's patch of a pod's status says of the pod's addresses and readiness.
//!
//! A kubelet patches with the difference between the status that it got and the one that it has (a strategic merge patch in
//! JSON). So what is not said is as the status that it got says: while the line is cut, as the cloud had it last. A list
//! that is merged by a key holds only the elements that differ; `$setElementOrder/LIST` names all that there shall be, and
//! `"$patch": "delete"` those that shall not (kubernetes/design-proposals, "Strategic Merge Patch").

use core::net::IpAddr;

use crate::wire::json;

/// The most addresses that are taken in: a pod has one, or two of different families.
const ADDRESSES: usize = 4;
/// The longest uid: the server makes them 36 long.
const UID: usize = 64;

/// A pod's addresses and readiness, as far as a patch says something about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStatus {
    /// `metadata.uid`, which a kubelet always says: it is a precondition.
    pub uid: String,
    /// The addresses that the pod has now, none when it has lost them; `None` when nothing is said.
    pub addresses: Option<Vec<IpAddr>>,
    /// Whether it is ready now: a pod that has ended is not. `None` when nothing is said.
    pub ready: Option<bool>,
}

/// Reads a patch; `None` when it is none of a pod's status, or does not say of which pod.
pub fn told(patch: &[u8]) -> Option<PodStatus> {
    let member = |object, name: &str| json::member(object, name.as_bytes()).ok().flatten();
    let uid = json::text(member(member(patch, "metadata")?, "uid")?)?;
    let status = member(patch, "status")?;
    if uid.is_empty() || uid.len() > UID {
        return None;
    }
    let (mut order, mut list, mut one) = (None, None, None);
    let mut ready = None;
    let mut ended = false;
    for pair in json::members(status) {
        match pair.ok()? {
            (b"$setElementOrder/podIPs", value) => order = Some(addresses(value)),
            (b"podIPs", value) => list = Some(addresses(value)),
            (b"podIP", value) => one = Some(address(value).into_iter().collect()),
            (b"phase", value) => ended = matches!(value, b"\"Succeeded\"" | b"\"Failed\""),
            (b"conditions", value) => {
                for condition in json::elements(value) {
                    let Ok(condition) = condition else { break };
                    if member(condition, "type") != Some(b"\"Ready\"") {
                        continue;
                    }
                    ready = match member(condition, "status") {
                        Some(value) => Some(value == b"\"True\""),
                        None if member(condition, "$patch").is_some() => Some(false),
                        None => None,
                    };
                }
            }
            _ => {}
        }
    }
    Some(PodStatus {
        uid: uid.into_owned(),
        addresses: order.or(list).or(one),
        ready: if ended { Some(false) } else { ready },
    })
}

/// The addresses of a list that are not to be taken out.
fn addresses(list: &[u8]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for element in json::elements(list) {
        let Ok(element) = element else { break };
        if let (Ok(None), Ok(Some(text))) = (
            json::member(element, b"$patch"),
            json::member(element, b"ip"),
        ) && addresses.len() < ADDRESSES
        {
            addresses.extend(address(text));
        }
    }
    addresses
}

fn address(text: &[u8]) -> Option<IpAddr> {
    json::text(text)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: &str) -> (Option<String>, Option<bool>) {
        let patch = format!(r#"{{"metadata":{{"uid":"u-1"}},"status":{status}}}"#);
        let told = told(patch.as_bytes()).expect("a patch");
        assert_eq!(told.uid, "u-1");
        let addresses = told.addresses.map(|all| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join(" ")
        });
        (addresses, told.ready)
    }

    #[test]
    fn addresses_are_those_that_the_pod_has_now() {
        let some = |text: &str| Some(text.to_owned());
        for (status, addresses) in [
            // As a kubelet patches a pod that came back at another address.
            (
                r#"{"$setElementOrder/podIPs":[{"ip":"10.0.0.9"}],"podIP":"10.0.0.9","podIPs":[{"ip":"10.0.0.9"},{"$patch":"delete","ip":"10.0.0.5"}]}"#,
                some("10.0.0.9"),
            ),
            // Of two only the first differs.
            (
                r#"{"$setElementOrder/podIPs":[{"ip":"10.0.0.9"},{"ip":"fd00::5"}],"podIP":"10.0.0.9","podIPs":[{"ip":"10.0.0.9"},{"$patch":"delete","ip":"10.0.0.5"}]}"#,
                some("10.0.0.9 fd00::5"),
            ),
            // It has lost what it had.
            (
                r#"{"$setElementOrder/podIPs":[],"podIP":null,"podIPs":[{"$patch":"delete","ip":"10.0.0.5"}]}"#,
                some(""),
            ),
            (r#"{"podIP":null,"podIPs":null}"#, some("")),
            (r#"{"podIP":"10.0.0.9"}"#, some("10.0.0.9")),
            (
                r#"{"podIPs":[{"ip":"10.0.0.9"},{"ip":"FD00:0::9"}]}"#,
                some("10.0.0.9 fd00::9"),
            ),
            (r#"{"podIP":"no address"}"#, some("")),
            (r#"{"phase":"Running"}"#, None),
        ] {
            assert_eq!(read(status).0, addresses, "{status}");
        }
    }

    #[test]
    fn readiness_is_the_condition_and_what_has_ended_is_not_ready() {
        for (status, ready) in [
            (
                r#"{"conditions":[{"type":"ContainersReady","status":"False"},{"type":"Ready","status":"True"}]}"#,
                Some(true),
            ),
            (
                r#"{"conditions":[{"type":"Ready","status":"False"}]}"#,
                Some(false),
            ),
            (
                r#"{"conditions":[{"type":"Ready","status":"Unknown"}]}"#,
                Some(false),
            ),
            (
                r#"{"conditions":[{"lastTransitionTime":"2026-11-24T10:00:00Z","type":"Ready"}]}"#,
                None,
            ),
            (
                r#"{"conditions":[{"$patch":"delete","type":"Ready"}]}"#,
                Some(false),
            ),
            (r#"{"conditions":null}"#, None),
            (r#"{"phase":"Succeeded"}"#, Some(false)),
            (
                r#"{"phase":"Failed","conditions":[{"type":"Ready","status":"True"}]}"#,
                Some(false),
            ),
            (r#"{"phase":"Running"}"#, None),
        ] {
            assert_eq!(read(status).1, ready, "{status}");
        }
    }

    #[test]
    fn what_is_no_such_patch_says_nothing() {
        let long = format!(
            r#"{{"metadata":{{"uid":"{}"}},"status":{{}}}}"#,
            "u".repeat(65)
        );
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"status":{}}"#,
            r#"{"metadata":{},"status":{}}"#,
            r#"{"metadata":{"uid":""},"status":{}}"#,
            r#"{"metadata":{"uid":7},"status":{}}"#,
            r#"{"metadata":{"uid":"u"}}"#,
            r#"{"metadata":{"uid":"u"},"status":7}"#,
            r#"{"metadata":{"uid":"u"},"status":{"podIP":}"#,
            &long,
        ] {
            assert_eq!(told(bad.as_bytes()), None, "{bad}");
        }
    }
}
