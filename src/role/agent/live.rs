//! Live endpoints: EndpointSlices as this node's pods are, when the cloud does not know (`rule::endpoint`).
//!
//! A kubelet's patch of a pod's status is read on its way; where the line is cut it is refused all the same, for the kubelet is
//! the queue that keeps it. What it says is kept in memory: it is told again every ten seconds. Where an EndpointSlice is shown
//! from the mirror, in lists, gets and watches, it is shown so; open watches hear of what has changed ([`Shown`]).

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use smol::Timer;
use smol::future::FutureExt;

use crate::io::boot::Boot;
use crate::io::latest::Notify;
use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::k8s::resource::GroupVersionResource;
use crate::rule::endpoint::Overlay;
use crate::rule::endpoint::Phase;
use crate::rule::endpoint::Turn;
use crate::rule::health::Health;
use crate::state::mirror::Lookup;
use crate::state::mirror::Mirror;
use crate::state::mirror::Stored;
use crate::state::upstream::Upstream;
use crate::wire::object;
use crate::wire::podstatus;

/// How long what was told is gathered before watches hear of it: after a boot a hundred pods are told of in a few seconds, and
/// each time all slices are looked through.
const GATHER: Duration = Duration::from_millis(100);

/// What this node knows of its pods' endpoints.
pub struct Live {
    node: String,
    boot: Boot,
    upstream: Rc<Upstream>,
    mirror: Rc<Mirror>,
    phase: Cell<Phase>,
    /// The last that was in force, and whether it is.
    overlay: RefCell<Option<Rc<Overlay>>>,
    in_force: Cell<bool>,
    changed: Notify,
}

impl Live {
    /// Nothing is known yet on `node`.
    pub fn new(node: String, boot: Boot, upstream: Rc<Upstream>, mirror: Rc<Mirror>) -> Rc<Self> {
        Rc::new(Self {
            node,
            boot,
            upstream,
            mirror,
            phase: Cell::new(Phase::Starting),
            overlay: RefCell::new(None),
            in_force: Cell::new(false),
            changed: Notify::new(),
        })
    }

    /// How the objects of a collection are shown otherwise than they are mirrored.
    pub fn of(&self, collection: &Collection) -> Option<Rc<Overlay>> {
        if collection.resource != slices() {
            return None;
        }
        self.see();
        self.overlay
            .borrow()
            .clone()
            .filter(|_| self.in_force.get())
    }

    /// For a watch of a collection: what its client has been shown. `known`: the client knows objects from elsewhere.
    pub fn shown(&self, collection: &Collection, known: bool) -> Option<Shown> {
        (collection.resource == slices()).then(|| Shown {
            overlay: if known {
                self.overlay.borrow().clone()
            } else {
                self.of(collection)
            },
            unsure: known,
        })
    }

    /// A kubelet patches the status of a pod.
    pub fn told(&self, credential: &Credential, key: &ObjectKey, patch: &[u8]) {
        self.see();
        let cut_off = self.phase.get() == Phase::CutOff;
        if !cut_off && !self.in_force.get() {
            return;
        }
        let Some(status) = podstatus::told(patch) else {
            return;
        };
        // Who may read this pod is its kubelet, or asks in the agent's name as it does; and it must be this very pod.
        if self.uid(credential, key).as_ref() != Some(&status.uid) {
            return;
        }
        let through = self.through();
        let mut overlay = self.overlay.borrow_mut();
        if !self.in_force.get() {
            let new = Overlay::new(&self.node, true, None);
            if new.knows(&status, through) {
                return;
            }
            *overlay = Some(Rc::new(new));
            self.force(true);
        }
        if let Some(overlay) = &mut *overlay
            && !overlay.knows(&status, through)
        {
            Rc::make_mut(overlay).tell(status, through);
            self.changed.notify();
        }
    }

    fn uid(&self, credential: &Credential, key: &ObjectKey) -> Option<String> {
        let pods = GroupVersionResource::new("", "v1", "pods");
        let logs = self.mirror.of_resource(&pods, credential);
        logs.iter().find_map(|log| match log.lookup(key) {
            Ok(Lookup::Found(pod)) => object::uid(&pod.object),
            _ => None,
        })
    }

    /// The version up to which slices are known.
    fn through(&self) -> ResourceVersion {
        self.mirror.latest(&slices()).unwrap_or_default()
    }

    /// Takes notice of the line.
    fn see(&self) {
        let up = match self.upstream.health() {
            Health::Starting => None,
            health => Some(health == Health::Healthy),
        };
        let mut phase = self.phase.get();
        let turn = phase.step(up, Instant::now());
        self.phase.set(phase);
        match turn {
            None => return,
            Some(Turn::StartedCutOff) if self.boot.is_new() => {
                let overlay = Overlay::new(&self.node, true, Some(self.through()));
                self.overlay.replace(Some(Rc::new(overlay)));
                self.force(true);
            }
            Some(Turn::StartedCutOff) => {}
            Some(turn @ (Turn::Cut | Turn::Back)) => {
                if let Some(overlay) = &mut *self.overlay.borrow_mut()
                    && self.in_force.get()
                {
                    Rc::make_mut(overlay).cut_off(turn == Turn::Cut);
                }
            }
            Some(Turn::Settled) => self.force(false),
        }
        self.changed.notify();
    }

    fn force(&self, on: bool) {
        if self.in_force.replace(on) != on {
            let whose = if on {
                "this node tells them"
            } else {
                "the cloud has them"
            };
            log::info!("endpoints of this node's pods are shown as {whose}");
        }
    }

    /// Takes notice of the line, and tells open watches of what has changed, until the future is dropped.
    pub async fn tend(&self) {
        loop {
            let (line, changed) = (self.upstream.changed(), self.changed.wait());
            self.see();
            let settled = async {
                match self.phase.get() {
                    Phase::Back(until) => drop(Timer::at(until).await),
                    _ => std::future::pending().await,
                }
            };
            line.or(settled).or(changed).await;
            self.see();
            if self.phase.get() != Phase::Starting {
                // Once a boot: an agent that starts again in it must not take back what was told to its predecessor, for a
                // kubelet does not tell again what the cloud has taken meanwhile.
                self.boot.keep().await;
            }
            Timer::after(GATHER).await;
            self.see();
            let slices = slices();
            for log in self.mirror.logs() {
                if log.name().resource == slices {
                    log.wake();
                }
            }
        }
    }
}

fn slices() -> GroupVersionResource {
    GroupVersionResource::new("discovery.k8s.io", "v1", "endpointslices")
}

/// The object as it is shown.
pub fn shown(overlay: Option<&Rc<Overlay>>, mut stored: Stored) -> Stored {
    if let Some(object) = overlay.and_then(|over| over.rewrite(&stored.object, stored.version)) {
        stored.object = object;
    }
    stored
}

/// What the client of one watch has been shown.
pub struct Shown {
    overlay: Option<Rc<Overlay>>,
    /// It may have seen the cloud's objects as well, and what the last overlay that was in force made of them.
    unsure: bool,
}

impl Shown {
    /// Whether something may be shown otherwise than under `now`, which is what it is shown from now on. Gives the judge of
    /// which objects the client must be shown again.
    pub fn change(&mut self, now: Option<Rc<Overlay>>) -> Option<impl Fn(&Stored) -> bool + use<>> {
        let unsure = std::mem::replace(&mut self.unsure, false);
        let same = match (&self.overlay, &now) {
            (Some(before), Some(now)) => Rc::ptr_eq(before, now) && !unsure,
            (None, None) => true,
            _ => false,
        };
        if same {
            return None;
        }
        let before = std::mem::replace(&mut self.overlay, now.clone());
        Some(move |stored: &Stored| {
            let (object, version) = (&stored.object, stored.version);
            let either = [&before, &now];
            if unsure {
                let mut either = either.into_iter().flatten();
                return either.any(|overlay| overlay.concerns(object, version));
            }
            let [before, now] = either.map(|overlay| overlay.as_ref()?.rewrite(object, version));
            before != now
        })
    }
}
