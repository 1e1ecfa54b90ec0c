//! What one client may see of a collection's log: the filters, and the narrower question that a broader log answers.

use std::rc::Rc;

use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;
use crate::k8s::status::Status;
use crate::rule::filter::Chain;
use crate::state::mirror::Stored;
use crate::state::mirror::TypeMeta;
use crate::wire::field;
use crate::wire::object;

/// One client's view.
pub struct View {
    chain: Rc<Chain>,
    asked: Collection,
    /// The log holds more than was asked for.
    narrow: bool,
}

impl View {
    /// The view of `asked` on a log of `held`. A field that can't be selected by is refused as the server would.
    pub fn new(chain: &Rc<Chain>, asked: &Collection, held: &Collection) -> Result<Self, Status> {
        let narrow = asked != held;
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
        })
    }

    /// Whether the verdict on an object can never change while it keeps its name.
    pub fn by_name(&self) -> bool {
        !self.narrow && self.chain.by_name()
    }

    /// Whether the client sees everything.
    pub fn is_open(&self) -> bool {
        !self.narrow && self.chain.is_empty()
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

/// What is shown of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Object,
    /// Its metadata.
    Metadata,
}

impl Shape {
    /// The object as it stands alone.
    pub fn show(self, stored: Stored, of: &TypeMeta) -> Vec<u8> {
        match self {
            Self::Object => alone(stored, of),
            Self::Metadata => metadata(&stored.object),
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
            },
        }
    }
}

/// The object's metadata alone. What has none was never an object.
pub fn metadata(object: &[u8]) -> Vec<u8> {
    object::metadata_only(object).unwrap_or_default()
}

/// The object as it stands alone: with `kind` and `apiVersion`, which items of typed lists do not carry.
fn alone(stored: Stored, of: &TypeMeta) -> Vec<u8> {
    if stored.typed {
        object::with_type(&stored.object, &of.kind, &of.api_version)
    } else {
        stored.object
    }
}
