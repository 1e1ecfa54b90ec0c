//! What one client may see of a collection's log: the filters, and the narrower question that a broader log answers.

use std::borrow::Cow;
use std::rc::Rc;

use crate::k8s::collection::Collection;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ObjectKey;
use crate::k8s::object::ResourceVersion;
use crate::k8s::status::Status;
use crate::role::agent::live;
use crate::rule::endpoint::Overlay;
use crate::rule::filter::Chain;
use crate::state::mirror::Stored;
use crate::state::mirror::TypeMeta;
use crate::wire::field;
use crate::wire::media::Shape;
use crate::wire::object;
use crate::wire::record::Item;

/// One client's view.
pub struct View {
    chain: Rc<Chain>,
    asked: Collection,
    /// The log holds more than was asked for.
    narrow: bool,
    overlay: Option<Rc<Overlay>>,
}

impl View {
    /// The view of `asked` on a log of `held`. A field that can't be selected by is refused as the server would.
    pub fn new(chain: &Rc<Chain>, asked: &Collection, held: &Collection) -> Result<Self, Status> {
        let narrow = !asked.covers(held);
        if narrow {
            for (name, _, _) in asked.fields.terms() {
                if !field::selectable(&asked.resource, name) {
                    return Err(field::unsupported(&asked.resource, name));
                }
            }
        }
        Ok(Self {
            chain: Rc::clone(chain),
            asked: asked.clone(),
            narrow,
            overlay: None,
        })
    }

    /// Objects are shown as `overlay` has them from now on.
    pub fn through(&mut self, overlay: Option<Rc<Overlay>>) {
        self.overlay = overlay;
    }

    /// An object that was read from the log, as the client sees it.
    pub fn object<'a>(&self, item: &Item<'a>) -> Cow<'a, [u8]> {
        let overlay = self.overlay.as_ref();
        overlay
            .and_then(|over| over.rewrite(item.object, ResourceVersion(item.version)))
            .map_or(Cow::Borrowed(item.object), Cow::Owned)
    }

    /// The object as the client sees it.
    pub fn shown(&self, stored: Stored) -> Stored {
        live::shown(self.overlay.as_ref(), stored)
    }

    /// Whether the verdict on an object can never change while it keeps its name.
    pub fn by_name(&self) -> bool {
        !self.narrow && self.chain.by_name()
    }

    /// Whether the client sees an object that was read from the log; where it sees everything its key is not looked at.
    pub fn shows(&self, item: &Item<'_>) -> bool {
        !self.narrow && self.chain.is_empty()
            || ObjectKey::parse(item.key).is_some_and(|key| self.admits(&key, item.object))
    }

    /// Whether the client sees the object.
    pub fn admits(&self, key: &ObjectKey, object: &[u8]) -> bool {
        (!self.narrow || self.selects(key, object)) && self.chain.admits(&self.asked, key, object)
    }

    fn selects(&self, key: &ObjectKey, object: &[u8]) -> bool {
        if self
            .asked
            .namespace
            .as_deref()
            .is_some_and(|namespace| namespace != key.namespace())
        {
            return false;
        }
        let labels = self.asked.labels.is_empty()
            || object::meta(object).is_ok_and(|meta| self.asked.labels.matches(&meta.labels));
        labels
            && self.asked.fields.matches(|name| match name {
                "metadata.name" => Some(key.name().to_owned()),
                "metadata.namespace" => Some(key.namespace().to_owned()),
                _ => field::value(&self.asked.resource, name, object),
            })
    }
}

impl Shape {
    /// The object as it stands in a list.
    pub fn item(self, object: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Object => Cow::Borrowed(object),
            // What has no metadata was never an object.
            Self::Metadata => object::metadata_only(object).unwrap_or_default().into(),
        }
    }

    /// The object as it stands alone.
    pub fn alone(self, stored: Stored, of: &TypeMeta) -> Vec<u8> {
        match (self, of.encoding) {
            (Self::Object, _) => alone(stored, of),
            (Self::Metadata, Encoding::Json) => self.item(&stored.object).into_owned(),
            (Self::Metadata, Encoding::Protobuf) => {
                let of = self.of(of);
                object::with_type(&self.item(&stored.object), &of.kind, &of.api_version)
            }
        }
    }

    /// What the shown objects are, of which the whole ones are `of`.
    pub fn of(self, of: &TypeMeta) -> TypeMeta {
        match self {
            Self::Object => of.clone(),
            Self::Metadata => TypeMeta {
                kind: "PartialObjectMetadata".to_owned(),
                api_version: "meta.k8s.io/v1".to_owned(),
                typed: true,
                encoding: of.encoding,
            },
        }
    }
}

/// The object as it stands alone: with `kind` and `apiVersion`, which items of typed lists do not carry.
fn alone(stored: Stored, of: &TypeMeta) -> Vec<u8> {
    if stored.typed {
        object::with_type(&stored.object, &of.kind, &of.api_version)
    } else {
        stored.object
    }
}
