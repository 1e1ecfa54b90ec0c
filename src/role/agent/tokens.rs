//! The tokens that the API server gave while it could be reached: kept, so that pods that mount one start without it.
//!
//! They lie in a log of their own for each credential, sealed, under the digest of what was asked (`wire::token`), the newest
//! for the same only. One is written for each that the server gives, and synced before it is passed on: a pod's start after
//! the next power cut depends on it.
//!
//! # When one is dropped
//!
//! - Its pod is gone: a mirrored collection of pods says so, by an event or by a list without it. Only collections that a
//!   pod can't leave while it lives count: of all pods, of a node, of a name or a namespace.
//! - It ended [`OLD`] ago when another one is given. Its asker asks again long before the end, so nobody does any more.
//!   Not while cut off: an ended token still starts a pod.
//! - There are more than [`MOST`]: the one that ends first.
//!
//! What was dropped is not given out any more; its sealed bytes leave the flash with the log's next compaction.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use smol::future::FutureExt;

use crate::io::crypto;
use crate::io::latest::Notify;
use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::object::ObjectKey;
use crate::k8s::resource::GroupVersionResource;
use crate::rule::retention;
use crate::state::mirror;
use crate::state::mirror::Cursor;
use crate::state::mirror::Log;
use crate::state::mirror::Lookup;
use crate::state::mirror::Mirror;
use crate::state::mirror::Next;
use crate::state::mirror::TypeMeta;
use crate::wire::object;
use crate::wire::token::Kept;
use crate::wire::token::Spec;

/// How many tokens are kept.
const MOST: usize = 1024;
/// How long after its end a token is kept, in seconds: 30 days.
const OLD: u64 = 30 * 24 * 3600;
/// How long an answer waits for its sync at the most; it goes on behind it.
const SYNC: Duration = Duration::from_secs(1);
/// How long a collection of pods that is new may go unnoticed.
const LOOK: Duration = Duration::from_secs(60);

/// Where a token is kept: who asked for it, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    credential: Credential,
    key: ObjectKey,
    pod: String,
}

impl Place {
    /// The place of what `credential` asks for a service account; none for names that are none.
    pub fn new(
        credential: &Credential,
        namespace: &str,
        service_account: &str,
        spec: &Spec,
    ) -> Option<Self> {
        let text = spec.text(namespace, service_account)?;
        Some(Self {
            credential: credential.clone(),
            key: ObjectKey::new("", &crypto::sha256_hex(text.as_bytes())),
            pod: spec.pod().to_owned(),
        })
    }

    /// The uid of the pod that the token is bound to; empty when it is bound to none.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// The collection of all tokens that were given with one right.
    pub fn collection(&self) -> Collection {
        collection(&self.credential)
    }
}

fn collection(credential: &Credential) -> Collection {
    Collection {
        resource: GroupVersionResource::new("", "", retention::TOKENS),
        namespace: None,
        labels: Default::default(),
        fields: Default::default(),
        encoding: Default::default(),
        credential: credential.clone(),
    }
}

/// Whether a collection is one of tokens.
pub fn is_tokens(collection: &Collection) -> bool {
    collection.resource.resource == retention::TOKENS
}

/// What must be known of a token without opening it.
struct Held {
    place: Place,
    expires: u64,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tokens that would be given out.
    pub held: usize,
    /// Those of them whose life is over.
    pub expired: usize,
}

/// All tokens that are kept.
pub struct Tokens {
    mirror: Rc<Mirror>,
    /// In no order: a node has a few dozen.
    held: RefCell<Vec<Held>>,
    /// Places in the logs of pods; what stands before them was seen.
    pods: RefCell<Vec<Cursor>>,
    noted: Notify,
}

impl Tokens {
    /// The tokens in the mirror, from earlier lives too.
    pub fn open(mirror: Rc<Mirror>) -> Rc<Self> {
        let tokens = Self {
            held: RefCell::default(),
            pods: RefCell::default(),
            noted: Notify::new(),
            mirror,
        };
        let logs = tokens.mirror.logs().into_iter();
        for log in logs.filter(|log| is_tokens(log.name())) {
            if let Err(error) = tokens.read(&log) {
                log::warn!("tokens can't be read: {error}");
            }
        }
        Rc::new(tokens)
    }

    fn read(&self, log: &Log) -> Result<(), mirror::Error> {
        let Some(log) = self.mirror.find(log.name()) else {
            return Ok(());
        };
        let Some(mut snapshot) = log.snapshot()? else {
            return Ok(());
        };
        while let Some(stored) = snapshot.next() {
            let stored = stored?;
            if let Some(kept) = Kept::decode(&stored.object) {
                let place = Place {
                    credential: log.name().credential.clone(),
                    key: stored.key,
                    pod: kept.pod,
                };
                self.note(place, kept.expires);
            }
        }
        Ok(())
    }

    fn note(&self, place: Place, expires: u64) {
        let mut held = self.held.borrow_mut();
        held.retain(|held| held.place != place);
        held.push(Held { place, expires });
    }

    /// The token that was given last for what is asked.
    pub fn find(&self, place: &Place) -> Result<Option<Kept>, mirror::Error> {
        let Some(log) = self.mirror.find(&place.collection()) else {
            return Ok(None);
        };
        match log.lookup(&place.key)? {
            Lookup::Found(stored) => Ok(Kept::decode(&stored.object)),
            Lookup::Absent | Lookup::Unknown => Ok(None),
        }
    }

    /// How many there are at `now` (seconds since 1970).
    pub fn count(&self, now: u64) -> Count {
        let mut count = Count::default();
        for held in self.held.borrow().iter() {
            // A log that was damaged took its tokens along.
            let log = self.mirror.find(&held.place.collection());
            if log.is_some_and(|log| log.version_of(held.place.key.as_str()).is_some()) {
                count.held += 1;
                count.expired += usize::from(held.expires <= now);
            }
        }
        count
    }

    /// Keeps what the server gave, instead of an earlier one for the same. Ready when it would survive a power cut, or when
    /// the flash is too slow to wait for it.
    pub async fn keep(&self, place: &Place, kept: &Kept, now: u64) -> Result<(), mirror::Error> {
        let log = self.mirror.ensure(&place.collection(), Duration::ZERO)?;
        {
            let mut writer = log.writer_wait().await;
            let (of, record) = (type_meta(), kept.encode());
            writer.add(&of, &place.key, &record).await?;
        }
        self.note(place.clone(), kept.expires);
        self.noted.notify();
        // This node's clock may be far ahead, so the end that the server gave counts too.
        self.drop_all(self.surplus(place, now.min(kept.expires)))
            .await;
        let late = async {
            smol::Timer::after(SYNC).await;
            Ok(())
        };
        log.sync().or(late).await
    }

    /// Which ones beside the one that was just given are too old or too many.
    fn surplus(&self, given: &Place, now: u64) -> Vec<Place> {
        let held = self.held.borrow();
        let others = || held.iter().filter(|held| held.place != *given);
        let old = others().filter(|held| held.expires.saturating_add(OLD) < now);
        let mut surplus: Vec<Place> = old.map(|held| held.place.clone()).collect();
        // One comes at a time, so one goes.
        if surplus.is_empty() && held.len() > MOST {
            let first = others().min_by_key(|held| held.expires);
            surplus.extend(first.map(|held| held.place.clone()));
        }
        surplus
    }

    /// Drops what is bound to pods that are gone, until it is dropped itself.
    pub async fn tend(&self) {
        loop {
            let noted = self.noted.wait();
            let gone = self.drain();
            if !gone.is_empty() {
                self.drop_all(self.bound_to(&gone)).await;
                // More may have happened meanwhile.
                continue;
            }
            let logs = self.watched();
            let changed = any(logs.iter().map(|log| log.changed()));
            let idle = self.held.borrow().is_empty();
            let look = async {
                if idle {
                    std::future::pending::<()>().await;
                }
                smol::Timer::after(LOOK).await;
            };
            noted.or(changed).or(look).await;
        }
    }

    fn bound_to(&self, pods: &[String]) -> Vec<Place> {
        let held = self.held.borrow();
        let bound = held.iter().filter(|held| pods.contains(&held.place.pod));
        bound.map(|held| held.place.clone()).collect()
    }

    fn watched(&self) -> Vec<Rc<Log>> {
        let pods = self.pods.borrow();
        pods.iter().map(|cursor| Rc::clone(cursor.log())).collect()
    }

    /// The uids of the pods that went since the last look.
    fn drain(&self) -> Vec<String> {
        let mut pods = self.pods.borrow_mut();
        if self.held.borrow().is_empty() {
            pods.clear();
            return Vec::new();
        }
        for log in self.mirror.logs() {
            let known = pods.iter().any(|cursor| Rc::ptr_eq(cursor.log(), &log));
            if !known
                && tells_of_pods(log.name())
                && let Some(log) = self.mirror.find(log.name())
                // From the first change that is known: a uid never comes back, so nothing is told too often.
                && let Ok(cursor) = log.cursor(log.oldest())
            {
                pods.push(cursor);
            }
        }
        let mut gone = Vec::new();
        // One that can't go on goes, and comes back if its log does.
        pods.retain_mut(|cursor| {
            loop {
                match cursor.next() {
                    Ok(Next::Change(change)) if change.deleted => {
                        gone.extend(object::uid(&change.stored.object));
                    }
                    Ok(Next::Change(_)) => {}
                    Ok(Next::Idle) => return true,
                    Ok(Next::Reset) | Err(_) => return false,
                }
            }
        });
        gone
    }

    async fn drop_all(&self, places: Vec<Place>) {
        for place in places {
            self.held.borrow_mut().retain(|held| held.place != place);
            let Some(log) = self.mirror.find(&place.collection()) else {
                continue;
            };
            let mut writer = log.writer_wait().await;
            if let Err(error) = writer.take_out(&place.key) {
                log::warn!("a token is not dropped: {error}");
            }
        }
    }
}

fn type_meta() -> TypeMeta {
    TypeMeta {
        kind: "Token".to_owned(),
        api_version: "toono".to_owned(),
        typed: false,
        encoding: Default::default(),
    }
}

/// Whether a pod that leaves the collection has left the node: nothing that it is selected by changes while it lives.
fn tells_of_pods(collection: &Collection) -> bool {
    let resource = &collection.resource;
    (resource.group.as_str(), resource.resource.as_str()) == ("", "pods")
        && collection.labels.is_empty()
        && collection.fields.terms().all(|(field, negated, _)| {
            !negated
                && matches!(
                    field,
                    "metadata.name" | "metadata.namespace" | "spec.nodeName"
                )
        })
}

/// Ready with the first of them; never when there is none.
async fn any(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        let ready = futures.iter_mut().any(|f| f.poll(context).is_ready());
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::io::crypto::Key;
    use crate::io::flash::memory::Memory;
    use crate::io::flash::memory::Random;
    use crate::k8s::encoding::Encoding;
    use crate::k8s::object::ResourceVersion;

    fn mirror(flash: &Memory) -> Rc<Mirror> {
        let options = mirror::Options {
            sync_window: Duration::from_secs(30),
            stamp: |_, _| None,
            same: |_, _| true,
            cap: 64 << 20,
        };
        Mirror::open(Arc::new(flash.clone()), options, Key::new(&[7; 32])).expect("a folder")
    }

    /// What is asked for with an audience of its own.
    fn place(number: usize) -> Place {
        let body = format!(r#"{{"spec":{{"audiences":["a-{number}"]}}}}"#);
        let spec = Spec::read(Encoding::Json, body.as_bytes()).expect("a request");
        Place::new(&Credential::Agent, "ns", "sa", &spec).expect("names")
    }

    fn kept(number: usize, expires: u64) -> Kept {
        Kept {
            content_type: "application/json".into(),
            pod: format!("pod-{number}"),
            expires,
            body: format!("token {number} of {expires}").into_bytes(),
        }
    }

    #[test]
    fn there_are_never_too_many_and_the_one_that_ends_first_leaves() {
        smol::block_on(async {
            let flash = Memory::default();
            let tokens = Tokens::open(mirror(&flash));
            for number in 0..MOST {
                // The second one ends first.
                let expires = if number == 1 { 5_000 } else { 10_000 };
                let kept = kept(number, expires);
                tokens.keep(&place(number), &kept, 0).await.expect("kept");
            }
            assert_eq!(tokens.count(0).held, MOST);
            // Also when the new one ends before them all.
            tokens
                .keep(&place(MOST), &kept(MOST, 1), 0)
                .await
                .expect("kept");
            for tokens in [&tokens, &Tokens::open(mirror(&flash.after_kill()))] {
                assert_eq!(tokens.count(0).held, MOST);
                assert_eq!(tokens.count(10_000).expired, MOST);
                assert_eq!(tokens.find(&place(1)).expect("readable"), None);
                for there in [0, 2, MOST] {
                    let found = tokens.find(&place(there)).expect("readable");
                    assert_eq!(found.map(|kept| kept.pod), Some(format!("pod-{there}")));
                }
            }
        });
    }

    #[test]
    fn one_that_ended_long_ago_leaves_when_another_is_given_and_not_by_a_wrong_clock() {
        smol::block_on(async {
            let tokens = Tokens::open(mirror(&Memory::default()));
            let now = 1_790_000_000;
            let ends = [now - OLD - 1, now - OLD, now, now + 3_600];
            for (number, expires) in ends.into_iter().enumerate() {
                let kept = kept(number, expires);
                // Nothing is old for a clock that stands at 1970.
                tokens.keep(&place(number), &kept, 0).await.expect("kept");
            }
            assert_eq!(
                tokens.count(now),
                Count {
                    held: 4,
                    expired: 3
                }
            );
            assert_eq!(
                tokens.count(0),
                Count {
                    held: 4,
                    expired: 0
                }
            );
            let again = kept(3, now + 3_600);
            tokens.keep(&place(3), &again, now).await.expect("kept");
            assert_eq!(
                tokens.count(now),
                Count {
                    held: 3,
                    expired: 2
                }
            );
            // A clock that is ten years ahead makes all of them look old.
            let ahead = now + 10 * 365 * 24 * 3_600;
            let again = kept(3, now + 3_600);
            tokens.keep(&place(3), &again, ahead).await.expect("kept");
            let left = tokens.count(now).held;
            assert_eq!(left, 2, "an hour more than was right, not ten years");
        });
    }

    #[test]
    fn what_was_kept_survives_a_power_cut_at_once_and_is_written_once() {
        smol::block_on(async {
            let flash = Memory::default();
            let mirror = mirror(&flash);
            let tokens = Tokens::open(Rc::clone(&mirror));
            for round in 0..20 {
                let kept = kept(1, 100 + round);
                tokens.keep(&place(1), &kept, 0).await.expect("kept");
                let stats = mirror.stats();
                assert_eq!(stats.syncs, round + 1);
                assert!(stats.written_bytes < 400 + 250 * (round + 1), "{stats:?}");
                let after = flash.after_power_cut(&mut Random::new(round));
                let found = Tokens::open(self::mirror(&after)).find(&place(1));
                assert_eq!(found.expect("readable"), Some(kept));
            }
            assert_eq!(tokens.count(0).held, 1);
            let operations = flash.operations();
            assert!(tokens.find(&place(1)).expect("readable").is_some());
            assert_eq!(tokens.find(&place(2)).expect("readable"), None);
            assert_eq!(flash.operations(), operations, "to read is not to write");
        });
    }

    #[test]
    fn a_pod_that_went_before_the_agent_was_killed_takes_its_token_along_after_the_start() {
        smol::block_on(async {
            let flash = Memory::default();
            let mirror = mirror(&flash);
            let tokens = Tokens::open(Rc::clone(&mirror));
            for number in [1, 2] {
                let kept = kept(number, 100);
                let place = Place {
                    pod: kept.pod.clone(),
                    ..place(number)
                };
                tokens.keep(&place, &kept, 0).await.expect("kept");
            }
            let name = Collection {
                resource: GroupVersionResource::new("", "v1", "pods"),
                ..collection(&Credential::Agent)
            };
            let log = mirror.ensure(&name, Duration::ZERO).expect("a log");
            let mut writer = log.writer().expect("free");
            for number in [1, 2] {
                let key = ObjectKey::new("ns", &format!("p{number}"));
                let pod = format!(r#"{{"metadata":{{"uid":"pod-{number}"}}}}"#);
                let of = type_meta();
                let added = writer.add(&of, &key, pod.as_bytes());
                added.await.expect("written");
                if number == 2 {
                    let version = ResourceVersion(9);
                    let gone = writer.delete(&key, version, false, pod.as_bytes());
                    gone.expect("written");
                }
            }
            // Nobody has looked at the pods yet, and the agent is killed.
            let tokens = Tokens::open(self::mirror(&flash.after_kill()));
            assert_eq!(tokens.count(0).held, 2);
            let mut tend = std::pin::pin!(tokens.tend());
            assert!(smol::future::poll_once(&mut tend).await.is_none());
            assert_eq!(tokens.count(0).held, 1);
            assert_eq!(tokens.find(&place(2)).expect("readable"), None);
            assert!(tokens.find(&place(1)).expect("readable").is_some());
        });
    }

    #[test]
    fn only_collections_that_a_living_pod_never_leaves_tell_that_it_is_gone() {
        use crate::k8s::selector::FieldSelector;
        use crate::k8s::selector::LabelSelector;
        let pods = |labels: &str, fields: &str| Collection {
            resource: GroupVersionResource::new("", "v1", "pods"),
            namespace: None,
            labels: LabelSelector::parse(labels).expect("a selector"),
            fields: FieldSelector::parse(fields).expect("a selector"),
            encoding: Encoding::Json,
            credential: Credential::Agent,
        };
        for fields in [
            "",
            "spec.nodeName=a",
            "metadata.name=a,metadata.namespace=b",
        ] {
            assert!(tells_of_pods(&pods("", fields)), "{fields}");
        }
        for (labels, fields) in [
            ("a=b", ""),
            ("", "status.phase=Running"),
            ("", "spec.nodeName=a,status.phase=Running"),
            ("", "spec.nodeName!=a"),
        ] {
            assert!(!tells_of_pods(&pods(labels, fields)), "{labels} {fields}");
        }
        let mut others = pods("", "");
        others.resource.group = "metrics.k8s.io".into();
        assert!(!tells_of_pods(&others));
    }
}
