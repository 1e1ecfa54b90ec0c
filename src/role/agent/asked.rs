//! What a request asks, in the words that routing and answering need.

use crate::io::digest;
use crate::io::http::HeaderMap;
use crate::io::http::Method;
use crate::io::http::Request;
use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::object::ResourceVersion;
use crate::k8s::order;
use crate::k8s::status::Status;
use crate::role::agent::view::Shape;
use crate::rule::retention;
use crate::rule::route::Facts;
use crate::rule::route::Version;
use crate::wire::media;
use crate::wire::media::Accept;
use crate::wire::request::Options;
use crate::wire::request::RequestInfo;
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
    json: bool,
    metadata: bool,
    cloud_form: bool,
    collection: Option<Collection>,
    mirrored: bool,
    identity: HeaderMap,
    credential: Credential,
}

impl Asked {
    /// Reads a request; a `Status` for a selector that can't be parsed.
    pub fn new(request: &Request) -> Result<Self, Status> {
        let info = RequestInfo::parse(request.method.as_str(), &request.target);
        let accept = Accept::parse(&joined(&request.headers, "accept"));
        let identity = identity(&request.headers);
        let credential = credential(&identity);
        let collection = info.collection(credential.clone())?;
        let indented = info
            .options
            .pretty
            .unwrap_or_else(|| media::pretty_by_agent(&joined(&request.headers, "user-agent")));
        let mirrored = collection.as_ref().is_some_and(|collection| {
            request.method == Method::GET
                && info.options.unknown.is_empty()
                && !info.is_deprecated_watch()
                && retention::mirrored(&collection.resource)
        });
        Ok(Self {
            upgrade: request.headers.contains_key("upgrade"),
            json: accept.plain_json(),
            metadata: accept.metadata(),
            cloud_form: accept.transform() || indented,
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

    /// The collection that is asked for, mirrored or not.
    pub fn collection(&self) -> Option<&Collection> {
        self.collection.as_ref()
    }

    /// The collection that is asked for, when it is one that is mirrored.
    pub fn mirrored(&self) -> Option<&Collection> {
        self.collection.as_ref().filter(|_| self.mirrored)
    }

    /// Whether objects are asked for in plain JSON, so that filters can read the answer.
    pub fn plain(&self) -> bool {
        self.json && !self.cloud_form
    }

    /// What is shown of objects when the answer is made here.
    pub fn shape(&self) -> Shape {
        if self.metadata {
            Shape::Metadata
        } else {
            Shape::Object
        }
    }

    /// The headers that say who asks.
    pub fn identity(&self) -> &HeaderMap {
        &self.identity
    }

    /// Whose right to read is used.
    pub fn credential(&self) -> &Credential {
        &self.credential
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
            cloud_form: self.cloud_form,
            json: self.json || self.metadata,
            version: self.version(),
            cloud,
            live,
            passed,
        }
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
    Credential::Caller(digest::sha256_hex(&lines.concat()))
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
