//! A request line becomes what Kubernetes calls its request info: verb, resource, name, options.
//!
//! The rules are those of `k8s.io/apiserver/pkg/endpoints/request` (kubernetes-wire 1.1 and 1.2). Reading never fails: what
//! names no resource is a non-resource request, and goes to the cloud as it came.

use crate::k8s::collection::Collection;
use crate::k8s::collection::Credential;
use crate::k8s::encoding::Encoding;
use crate::k8s::object::ResourceVersion;
use crate::k8s::resource::GroupVersionResource;
use crate::k8s::selector::FieldSelector;
use crate::k8s::selector::LabelSelector;
use crate::k8s::selector::SelectorError;
use crate::k8s::status::Status;

pub use crate::wire::request::options::Options;

mod options;

/// The Kubernetes verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object, or a non-resource path.
    Get,
    /// A collection.
    List,
    /// Changes of a collection.
    Watch,
    /// POST
    Create,
    /// PUT
    Update,
    /// PATCH
    Patch,
    /// DELETE of one object
    Delete,
    /// DELETE of a collection
    DeleteCollection,
    /// Anything else: proxied methods, unknown ones.
    Other,
}

/// A request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// The verb.
    pub verb: Verb,
    /// The path, as it came.
    pub path: String,
    /// What it is about; `None` for discovery, health, and whatever else is not under a resource.
    pub resource: Option<ResourceRequest>,
    /// The query's options.
    pub options: Options,
}

/// The resource part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRequest {
    /// Group, version, plural.
    pub resource: GroupVersionResource,
    /// The namespace, if the path has one.
    pub namespace: Option<String>,
    /// The object's name, if the path has one.
    pub name: Option<String>,
    /// `status`, `log`, `exec`, `token`, `scale`, `proxy`, …
    pub subresource: Option<String>,
}

impl RequestInfo {
    /// Reads a method and a target in origin form.
    pub fn parse(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let options = Options::parse(query);
        let verb = match method {
            "POST" => Verb::Create,
            "PUT" => Verb::Update,
            "PATCH" => Verb::Patch,
            "DELETE" => Verb::Delete,
            "GET" | "HEAD" => Verb::Get,
            _ => Verb::Other,
        };
        let mut info = Self {
            verb,
            path: path.to_owned(),
            resource: None,
            options,
        };
        info.read_path();
        info
    }

    /// Whether it is about what a server can do: discovery, `/version`, `/openapi`.
    pub fn is_document(&self) -> bool {
        let parts: Vec<&str> = self.path.trim_matches('/').split('/').collect();
        self.resource.is_none()
            && matches!(
                parts[..],
                ["version" | "api" | "apis"]
                    | ["api", _]
                    | ["apis", _]
                    | ["apis", _, _]
                    | ["openapi", ..]
            )
    }

    fn read_path(&mut self) {
        let path = self.path.clone();
        let mut parts: Vec<String> = path.trim_matches('/').split('/').map(decode_path).collect();
        let grouped = match parts.first().map(String::as_str) {
            Some("api") => false,
            Some("apis") => true,
            _ => return,
        };
        // With nothing between two slashes it is no resource that a server has.
        if parts.len() < if grouped { 4 } else { 3 } || parts.iter().any(String::is_empty) {
            return;
        }
        let prefix: Vec<String> = parts.drain(..if grouped { 3 } else { 2 }).collect();
        let (group, version) = if grouped {
            (prefix[1].as_str(), prefix[2].as_str())
        } else {
            ("", prefix[1].as_str())
        };
        // Deprecated verb prefixes.
        match parts[0].as_str() {
            "watch" if parts.len() > 1 => {
                self.verb = Verb::Watch;
                parts.remove(0);
            }
            "proxy" if parts.len() > 1 => {
                self.verb = Verb::Other;
                parts.remove(0);
                parts.truncate(3);
            }
            _ => {}
        }
        let mut namespace = None;
        if parts[0] == "namespaces" && parts.len() > 1 {
            namespace = Some(parts[1].clone());
            // `status` and `finalize` belong to the namespace object; any other third word is a resource in it.
            if parts.len() > 2 && parts[2] != "status" && parts[2] != "finalize" {
                parts.drain(..2);
            }
        }
        let mut parts = parts.into_iter();
        let Some(resource) = parts.next() else { return };
        let name = parts.next();
        let subresource = parts.next();
        self.verb = match (self.verb, &name) {
            (Verb::Get, None) if self.options.watch => Verb::Watch,
            (Verb::Get, None) => Verb::List,
            (Verb::Delete, None) => Verb::DeleteCollection,
            (verb, _) => verb,
        };
        self.resource = Some(ResourceRequest {
            resource: GroupVersionResource::new(group, version, &resource),
            namespace,
            name,
            subresource,
        });
    }

    /// The collection that a list, a watch or a get of one object is about: a get is about the objects of that name.
    /// `None` for anything else. A selector that can't be parsed is a 400.
    pub fn collection(&self, credential: Credential) -> Result<Option<Collection>, Status> {
        let Some(request) = self
            .resource
            .as_ref()
            .filter(|request| request.subresource.is_none())
        else {
            return Ok(None);
        };
        let bad = |error: SelectorError| Status::bad_request(&error.message);
        let (labels, fields) = match (self.verb, &request.name) {
            // The deprecated form of a watch may have a name in its path.
            (Verb::Get | Verb::Watch, Some(name)) => {
                (LabelSelector::default(), FieldSelector::name(name))
            }
            (Verb::List | Verb::Watch, None) => (
                LabelSelector::parse(self.options.label_selector.as_deref().unwrap_or(""))
                    .map_err(bad)?,
                FieldSelector::parse(self.options.field_selector.as_deref().unwrap_or(""))
                    .map_err(bad)?,
            ),
            _ => return Ok(None),
        };
        // A namespace object's own namespace is itself; its collection is the cluster's.
        let namespace = request
            .namespace
            .clone()
            .filter(|_| !self.is_namespace_object(request));
        let collection = Collection {
            resource: request.resource.clone(),
            namespace,
            labels,
            fields,
            encoding: Encoding::default(),
            credential,
        };
        Ok(is_plain(&collection).then_some(collection))
    }

    /// Whether it is a watch by its path, `/api/v1/watch/…`, as it was asked for before there were parameters.
    pub fn is_deprecated_watch(&self) -> bool {
        self.verb == Verb::Watch && !self.options.watch
    }

    fn is_namespace_object(&self, request: &ResourceRequest) -> bool {
        request.resource.group.is_empty()
            && request.resource.resource == "namespaces"
            && request.name.is_some()
    }
}

/// Whether the names can stand in a path as they are: then a request of ours for the collection is the client's.
fn is_plain(collection: &Collection) -> bool {
    let GroupVersionResource {
        group,
        version,
        resource,
    } = &collection.resource;
    [group, version, resource]
        .into_iter()
        .chain(&collection.namespace)
        .all(|part| {
            part.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        })
}

fn decode_path(text: &str) -> String {
    decode(text, false)
}

/// Percent-decodes; what is no escape stays as it is.
fn decode(text: &str, plus: bool) -> String {
    if !(text.contains('%') || plus && text.contains('+')) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| Some(digit(hex[0])? << 4 | digit(hex[1])?));
        match (byte, escaped) {
            (b'%', Some(escaped)) => {
                plain.push(escaped);
                at += 3;
                continue;
            }
            (b'+', _) if plus => plain.push(b' '),
            (byte, _) => plain.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(plain)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// The target of a watch that is taken up again at `version`: what said where to start is left out.
pub fn resumed(target: &str, version: ResourceVersion) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let starts = [
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
    ];
    let mut kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !starts.contains(&pair.split('=').next().unwrap_or("")))
        .collect();
    let version = format!("resourceVersion={version}");
    kept.push(&version);
    format!("{path}?{}", kept.join("&"))
}

/// Percent-encodes a query value: all but what RFC 3986 calls unreserved.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, target: &str) -> String {
        let info = RequestInfo::parse(method, target);
        let resource = info.resource.map_or("-".to_owned(), |request| {
            let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
            let ResourceRequest {
                resource,
                namespace,
                name,
                subresource,
            } = &request;
            format!(
                "{resource} ns={} name={} sub={}",
                part(namespace),
                part(name),
                part(subresource)
            )
        });
        format!("{:?} {resource}", info.verb)
    }

    #[test]
    fn every_form_of_path_is_read_as_the_server_reads_it() {
        for (method, target, expected) in [
            ("GET", "/api/v1/pods", "List v1/pods ns=- name=- sub=-"),
            (
                "GET",
                "/api/v1/pods?watch=true",
                "Watch v1/pods ns=- name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/pods?watch=1",
                "Watch v1/pods ns=- name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/pods?watch",
                "Watch v1/pods ns=- name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/pods?watch=false",
                "List v1/pods ns=- name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/pods?watch=0",
                "List v1/pods ns=- name=- sub=-",
            ),
            ("HEAD", "/api/v1/pods", "List v1/pods ns=- name=- sub=-"),
            (
                "GET",
                "/api/v1/namespaces/a/pods",
                "List v1/pods ns=a name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/p",
                "Get v1/pods ns=a name=p sub=-",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/p?watch=1",
                "Get v1/pods ns=a name=p sub=-",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/p/log?follow=true",
                "Get v1/pods ns=a name=p sub=log",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/p/exec?command=ls",
                "Get v1/pods ns=a name=p sub=exec",
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods",
                "Create v1/pods ns=a name=- sub=-",
            ),
            (
                "PATCH",
                "/api/v1/namespaces/a/pods/p/status",
                "Patch v1/pods ns=a name=p sub=status",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods/p",
                "Delete v1/pods ns=a name=p sub=-",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                "DeleteCollection v1/pods ns=a name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/namespaces",
                "List v1/namespaces ns=- name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                "Get v1/namespaces ns=a name=a sub=-",
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "Update v1/namespaces ns=a name=a sub=finalize",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/status",
                "Get v1/namespaces ns=a name=a sub=status",
            ),
            (
                "GET",
                "/apis/apps/v1/deployments",
                "List apps/v1/deployments ns=- name=- sub=-",
            ),
            (
                "PUT",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "Update apps/v1/deployments ns=a name=d sub=scale",
            ),
            ("GET", "/apis/apps/v1", "Get -"),
            ("GET", "/apis/apps", "Get -"),
            ("GET", "/apis", "Get -"),
            ("GET", "/api/v1", "Get -"),
            ("GET", "/api", "Get -"),
            ("GET", "/", "Get -"),
            ("GET", "/healthz", "Get -"),
            ("GET", "/openapi/v3/apis/apps/v1", "Get -"),
            ("GET", "/version", "Get -"),
            (
                "GET",
                "/api/v1/watch/pods",
                "Watch v1/pods ns=- name=- sub=-",
            ),
            (
                "GET",
                "/api/v1/watch/namespaces/a/pods/p",
                "Watch v1/pods ns=a name=p sub=-",
            ),
            (
                "GET",
                "/api/v1/proxy/nodes/n/x/y",
                "Other v1/nodes ns=- name=n sub=x",
            ),
            (
                "POST",
                "/api/v1/nodes/n/proxy/run/x",
                "Create v1/nodes ns=- name=n sub=proxy",
            ),
            ("GET", "//api/v1/pods/", "List v1/pods ns=- name=- sub=-"),
            (
                "GET",
                "/api/v1/namespaces/a/pods/p%2Dq",
                "Get v1/pods ns=a name=p-q sub=-",
            ),
            ("OPTIONS", "/api/v1/pods", "Other v1/pods ns=- name=- sub=-"),
            ("GET", "/api/v1/namespaces/a//status", "Get -"),
            ("GET", "/api/v1/namespaces//pods", "Get -"),
            ("GET", "/apis//v1/pods", "Get -"),
        ] {
            assert_eq!(read(method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn collections_are_named_by_what_they_hold() {
        let name = |method, target| {
            let collection = RequestInfo::parse(method, target).collection(Credential::Agent);
            collection.map(|collection| collection.map(|collection| collection.to_string()))
        };
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            name("GET", "/api/v1/pods?labelSelector=b,a%3D%3D1"),
            some("/api/v1/pods labels=a=1,b")
        );
        assert_eq!(
            name(
                "GET",
                "/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name=p"
            ),
            name("GET", "/api/v1/namespaces/a/pods/p"),
            "a get is the collection of that name"
        );
        assert_eq!(
            name("GET", "/api/v1/namespaces/a"),
            some("/api/v1/namespaces fields=metadata.name=a")
        );
        assert_eq!(
            name("GET", "/api/v1/nodes/n"),
            some("/api/v1/nodes fields=metadata.name=n")
        );
        for target in [
            "/api/v1/namespaces/a/pods/p/log",
            "/version",
            "/api/v1/namespaces/A%2Fb/pods",
        ] {
            assert_eq!(name("GET", target), Ok(None), "{target}");
        }
        assert_eq!(name("POST", "/api/v1/pods"), Ok(None));
        assert_eq!(name("GET", "/api/v1/watch/pods"), some("/api/v1/pods"));
        assert_eq!(
            name("GET", "/api/v1/watch/namespaces/a/pods/p"),
            some("/api/v1/namespaces/a/pods fields=metadata.name=p")
        );
        assert_eq!(
            resumed(
                "/a?watch=1&resourceVersion=3&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&b=c",
                ResourceVersion(7)
            ),
            "/a?watch=1&b=c&resourceVersion=7"
        );
        assert_eq!(resumed("/a", ResourceVersion(7)), "/a?resourceVersion=7");
        let deprecated = |target: &str| RequestInfo::parse("GET", target).is_deprecated_watch();
        assert!(deprecated("/api/v1/watch/pods"));
        assert!(!deprecated("/api/v1/pods?watch=1") && !deprecated("/api/v1/pods"));
        let status =
            name("GET", "/api/v1/pods?labelSelector=a%3D%3D%3D").expect_err("a wrong selector");
        assert_eq!(
            status.to_json(),
            include_bytes!("../../tests/golden/list_bad_selector.body")
        );
    }

    #[test]
    fn a_plus_is_a_plus_in_a_path() {
        assert_eq!(decode_path("a+b"), "a+b");
    }
}
