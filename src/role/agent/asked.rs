//! What a request asks, in the words that routing and answering need.

use crate::io::crypto;
use crate::io::http::HeaderMap;
use crate::io::http::Method;
use crate::io::http::Request;
use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ResourceVersion;
use crate::k8s::order;
use crate::k8s::resource::GroupVersionResource;
use crate::k8s::status::Status;
use crate::rule::retention;
use crate::rule::route::Facts;
use crate::rule::route::Version;
use crate::rule::write::Write;
use crate::wire::field;
use crate::wire::media;
use crate::wire::media::Accept;
use crate::wire::media::Shape;
use crate::wire::request::Options;
use crate::wire::request::RequestInfo;
use crate::wire::request::ResourceRequest;
use crate::wire::request::Verb;

/// The headers that say who asks: what they hold is part of a collection's name and travels with its upstream watch.
const IDENTITY: [&str; 5] = [
    "authorization",
    "impersonate-user",
    "impersonate-group",
    "impersonate-uid",
    "impersonate-extra-",
];

/// A request, read.
pub struct Asked {
    info: RequestInfo,
    method: Method,
    upgrade: bool,
    accept: Accept,
    cloud_form: bool,
    collection: Option<Collection>,
    mirrored: bool,
    identity: HeaderMap,
    credential: Credential,
}

impl Asked {
    /// In which encoding the client of a request that can't be read reads a `Status`.
    pub fn status_of(request: &Request) -> Encoding {
        Accept::parse(&joined(&request.headers, "accept")).status()
    }

    /// Reads a request; a `Status` for a selector that can't be parsed.
    pub fn new(request: &Request) -> Result<Self, Status> {
        let info = RequestInfo::parse(request.method.as_str(), &request.target);
        let accept = Accept::parse(&joined(&request.headers, "accept"));
        let identity = identity(&request.headers);
        let credential = credential(&identity);
        let mut collection = info.collection(credential.clone())?;
        if let Some(collection) = &mut collection {
            collection.encoding = encoding(&accept, &collection.resource.group);
        }
        // Only JSON is indented.
        let indented = accept.encodings().next() != Some(Encoding::Protobuf)
            && info
                .options
                .pretty
                .unwrap_or_else(|| media::pretty_by_agent(&joined(&request.headers, "user-agent")));
        let mirrored = collection.as_ref().is_some_and(|collection| {
            request.method == Method::GET
                && info.options.unknown.is_empty()
                && !info.is_deprecated_watch()
                && (retention::mirrored(&collection.resource)
                    || info.verb == Verb::Get
                        && retention::kept_once(
                            &collection.resource,
                            collection.namespace.as_deref(),
                        ))
        });
        Ok(Self {
            upgrade: request.headers.contains_key("upgrade"),
            cloud_form: accept.transform() || indented,
            accept,
            method: request.method.clone(),
            collection,
            mirrored,
            identity,
            credential,
            info,
        })
    }

    /// The Kubernetes verb.
    pub fn verb(&self) -> Verb {
        self.info.verb
    }

    /// The HTTP method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, as it came.
    pub fn path(&self) -> &str {
        &self.info.path
    }

    /// The options of a list, a watch or a get.
    pub fn options(&self) -> &Options {
        &self.info.options
    }

    /// The object's name in a request for one object.
    pub fn name(&self) -> Option<&str> {
        self.info.resource.as_ref()?.name.as_deref()
    }

    /// The resource that the request is about.
    pub fn resource(&self) -> Option<&ResourceRequest> {
        self.info.resource.as_ref()
    }

    /// Which of the writes it is that a kubelet must be answered; one that is only tried (`dryRun`) is none of them.
    pub fn write(&self) -> Write {
        let tried = self.options().unknown.iter().any(|name| name == "dryRun");
        match self.info.resource.as_ref().filter(|_| !tried) {
            Some(request) => Write::of(self.info.verb, request),
            None => Write::Other,
        }
    }

    /// The collection that is asked for, mirrored or not.
    pub fn collection(&self) -> Option<&Collection> {
        self.collection.as_ref()
    }

    /// The collection that is asked for, when it is one that is mirrored.
    pub fn mirrored(&self) -> Option<&Collection> {
        self.collection.as_ref().filter(|_| self.mirrored)
    }

    /// Takes the collection in another encoding that is accepted too, if `rank` says more of it: what is held in one need not
    /// cross the line in the other.
    pub fn prefer<R: Ord>(&mut self, rank: impl Fn(&Self, &Collection) -> R) {
        let Some(own) = self.mirrored() else { return };
        if self.accept.encodings().all(|other| other == own.encoding) {
            return;
        }
        let (mut best, mut most) = (own.clone(), rank(self, own));
        for encoding in self.accept.encodings() {
            let other = Collection {
                encoding,
                ..own.clone()
            };
            let said = rank(self, &other);
            if said > most {
                (best, most) = (other, said);
            }
        }
        self.collection = Some(best);
    }

    /// The version that a watch goes on from; `None` for one that begins with all objects, and for everything else.
    pub fn watched_from(&self) -> Option<ResourceVersion> {
        let options = self.options();
        let version = ResourceVersion::parse(options.resource_version.as_deref()?)?;
        (self.verb() == Verb::Watch
            && options.send_initial_events != Some(true)
            && version > ResourceVersion(0))
        .then_some(version)
    }

    /// Whether objects as they are, are asked for, so that filters can read the answer.
    pub fn plain(&self) -> bool {
        self.accept.encodings().next().is_some() && !self.cloud_form
    }

    /// The encodings in which objects are accepted, that of the collection first.
    pub fn encodings(&self) -> Vec<Encoding> {
        let first = self.collection.as_ref().map(|own| own.encoding);
        let accepted: Vec<Encoding> = self.accept.encodings().collect();
        let mut encodings: Vec<Encoding> = accepted
            .iter()
            .copied()
            .filter(|own| Some(*own) == first)
            .collect();
        encodings.extend(accepted.iter().filter(|own| Some(**own) != first));
        encodings.dedup();
        encodings
    }

    /// What is shown of objects in `encoding` when the answer is made here; `None` when they are not accepted. Who accepts
    /// anything can be given what it did not hope for, when there is nothing else: a Go client reads either. A person at a
    /// terminal is better off with a refusal that can be read.
    pub fn shape(&self, encoding: Encoding) -> Option<Shape> {
        let anything = self.accept.anything() && !self.cloud_form;
        self.accept
            .shape(encoding)
            .or(anything.then_some(Shape::Object))
    }

    /// Whether objects in `encoding` are among what is hoped for.
    pub fn hopes_for(&self, encoding: Encoding) -> bool {
        self.accept.shape(encoding).is_some()
    }

    /// The encoding in which a `Status` is read.
    pub fn status(&self) -> Encoding {
        self.accept.status()
    }

    /// The headers that say who asks.
    pub fn identity(&self) -> &HeaderMap {
        &self.identity
    }

    /// Whose right to read is used.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Namespace and name of the service account whose token is asked for, with nothing that makes it something else
    /// (`dryRun`).
    pub fn token_of(&self) -> Option<(&str, &str)> {
        let request = self.info.resource.as_ref()?;
        let GroupVersionResource {
            group,
            version,
            resource,
        } = &request.resource;
        let plain = self.method == Method::POST
            && (group.as_str(), version.as_str(), resource.as_str())
                == ("", "v1", "serviceaccounts")
            && request.subresource.as_deref() == Some("token")
            && self
                .options()
                .unknown
                .iter()
                .all(|name| name.starts_with("field"));
        let names = (request.namespace.as_deref()?, request.name.as_deref()?);
        plain.then_some(names)
    }

    /// Whether it asks how this endpoint is.
    pub fn is_health(&self) -> bool {
        matches!(
            self.info.path.trim_end_matches('/'),
            "/healthz" | "/livez" | "/readyz"
        )
    }

    /// Whether a mirror complete at `complete` has passed the version that is asked for.
    pub fn passed_by(&self, complete: Option<ResourceVersion>) -> bool {
        let Some(complete) = complete else {
            return false;
        };
        match self.options().resource_version.as_deref() {
            None | Some("") => false,
            Some(text) => ResourceVersion::parse(text).is_some_and(|asked| asked <= complete),
        }
    }

    /// Which version is asked for.
    pub fn version(&self) -> Version {
        let options = self.options();
        let version = options.resource_version.as_deref().unwrap_or("");
        if options.continue_token.is_some()
            || options.resource_version_match.as_deref() == Some("Exact")
        {
            return Version::Exact;
        }
        match version {
            "" => Version::Recent,
            "0" => Version::NotOlderThan,
            // A page at a version is that version exactly, for the sake of old clients (kubernetes-wire 1.2).
            _ if options.limit.is_some() && options.resource_version_match.is_none() => {
                Version::Exact
            }
            _ => Version::NotOlderThan,
        }
    }

    /// What routing needs to know.
    pub fn facts(&self, cloud: bool, live: bool, passed: bool) -> Facts {
        Facts {
            verb: self.info.verb,
            upgrade: self.upgrade,
            collection: self.mirrored,
            document: self.method == Method::GET && self.info.is_document(),
            token: self.token_of().is_some(),
            write: self.write() != Write::Other,
            cloud_form: self.cloud_form,
            made: self.accept.made(),
            version: self.version(),
            cloud,
            live,
            passed,
        }
    }
}

/// In which encoding a collection is asked for: the one that is preferred, but custom resources have no protobuf.
fn encoding(accept: &Accept, group: &str) -> Encoding {
    let mut accepted = accept.encodings();
    match accepted.next() {
        Some(Encoding::Protobuf)
            if !field::is_built_in(group) && accepted.any(|own| own == Encoding::Json) =>
        {
            Encoding::Json
        }
        first => first.unwrap_or_default(),
    }
}

fn identity(headers: &HeaderMap) -> HeaderMap {
    let mut identity = HeaderMap::new();
    for (name, value) in headers {
        if IDENTITY.iter().any(|own| {
            name.as_str() == *own || (own.ends_with('-') && name.as_str().starts_with(own))
        }) {
            identity.append(name.clone(), value.clone());
        }
    }
    identity
}

/// The agent's own credential when the request brings none, else a digest of all that says who asks.
fn credential(identity: &HeaderMap) -> Credential {
    if identity.is_empty() {
        return Credential::Agent;
    }
    let mut lines: Vec<Vec<u8>> = identity
        .iter()
        .map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat())
        .collect();
    order::natural(&mut lines);
    Credential::Caller(crypto::sha256_hex(&lines.concat()))
}

/// A field's values, as one.
pub(super) fn joined(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    values.join(",")
}
