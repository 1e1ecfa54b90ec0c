//! `Status`: what the API server answers instead of an object, in its own words and its own bytes.

use crate::k8s::object::ResourceVersion;
use crate::k8s::resource::GroupVersionResource;

/// Why, as a machine reads it (`metav1.StatusReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 400
    BadRequest,
    /// 404
    NotFound,
    /// 406
    NotAcceptable,
    /// 409, for an object that is to be made
    AlreadyExists,
    /// 410
    Expired,
    /// 429
    TooManyRequests,
    /// 500, and 502: a server that can't be understood
    InternalError,
    /// 503
    ServiceUnavailable,
    /// 504
    Timeout,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::NotFound => "NotFound",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Expired => "Expired",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        }
    }
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// What a person reads.
    pub message: String,
    /// What a machine reads; the server leaves it out where it knows none.
    pub reason: Option<Reason>,
    /// Which object.
    object: Option<Object>,
    too_large: bool,
    /// After how long asking again makes sense.
    pub retry_after_seconds: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    name: String,
    group: String,
    kind: String,
}

impl Status {
    /// A failure with `code`, of the reason that belongs to it.
    pub fn new(code: u16, message: &str) -> Self {
        let reason = match code {
            400 => Some(Reason::BadRequest),
            404 => Some(Reason::NotFound),
            406 => Some(Reason::NotAcceptable),
            410 => Some(Reason::Expired),
            429 => Some(Reason::TooManyRequests),
            500 | 502 => Some(Reason::InternalError),
            503 => Some(Reason::ServiceUnavailable),
            504 => Some(Reason::Timeout),
            _ => None,
        };
        Self {
            code,
            message: message.to_owned(),
            reason,
            object: None,
            too_large: false,
            retry_after_seconds: None,
        }
    }

    /// The request can't be understood.
    pub fn bad_request(message: &str) -> Self {
        Self::new(400, message)
    }

    /// There is no such object; only said when that is known.
    pub fn not_found(resource: &GroupVersionResource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::about(404, &message, resource, name)
    }

    fn about(code: u16, message: &str, resource: &GroupVersionResource, name: &str) -> Self {
        Self {
            object: Some(Object {
                name: name.to_owned(),
                group: resource.group.clone(),
                kind: resource.resource.clone(),
            }),
            ..Self::new(code, message)
        }
    }

    /// An object of that name is there already.
    pub fn already_exists(resource: &GroupVersionResource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self {
            reason: Some(Reason::AlreadyExists),
            ..Self::about(409, &message, resource, name)
        }
    }

    /// None of the forms that are accepted can be given.
    pub fn not_acceptable(message: &str) -> Self {
        Self::new(406, message)
    }

    /// A version, or a page, that is too old.
    pub fn expired(message: &str) -> Self {
        Self::new(410, message)
    }

    /// The server's answer can't be understood.
    pub fn bad_gateway(message: &str) -> Self {
        Self::new(502, message)
    }

    /// It can't be answered now, which says nothing about what is asked for. Without `Retry-After`: client-go would block
    /// its caller with it.
    pub fn unavailable(message: &str) -> Self {
        Self::new(503, message)
    }

    /// A version that has not been reached. Without `Retry-After`, so that clients ask again with no version
    /// (kubernetes-wire 3.6, rule 2).
    pub fn too_large_version(asked: ResourceVersion, current: ResourceVersion) -> Self {
        Self {
            too_large: true,
            ..Self::new(
                504,
                &format!("Timeout: Too large resource version: {asked}, current: {current}"),
            )
        }
    }

    /// The reason in the server's word; empty where it knows none.
    pub fn reason_text(&self) -> &'static str {
        self.reason.map_or("", Reason::as_str)
    }

    /// Name, group and kind (the resource's plural) of the object that it is about.
    pub fn object(&self) -> Option<(&str, &str, &str)> {
        self.object
            .as_ref()
            .map(|object| (&*object.name, &*object.group, &*object.kind))
    }

    /// What else a machine reads: a cause's reason and message.
    pub fn cause(&self) -> Option<(&'static str, &'static str)> {
        self.too_large
            .then_some(("ResourceVersionTooLarge", "Too large resource version"))
    }

    /// As JSON, in the bytes that the API server would send, final newline included.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = String::from(
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"#,
        );
        quote(&self.message, &mut json);
        if let Some(reason) = self.reason {
            json.push_str(",\"reason\":");
            quote(reason.as_str(), &mut json);
        }
        let mut details = String::new();
        let mut detail = |name: &str, value: &str| {
            if !value.is_empty() {
                let comma = if details.is_empty() { "" } else { "," };
                details.push_str(&format!("{comma}\"{name}\":"));
                quote(value, &mut details);
            }
        };
        if let Some(object) = &self.object {
            detail("name", &object.name);
            detail("group", &object.group);
            detail("kind", &object.kind);
        }
        if let Some((reason, message)) = self.cause() {
            let comma = if details.is_empty() { "" } else { "," };
            details.push_str(&format!(
                r#"{comma}"causes":[{{"reason":"{reason}","message":"{message}"}}]"#
            ));
        }
        if let Some(seconds) = self.retry_after_seconds {
            let comma = if details.is_empty() { "" } else { "," };
            details.push_str(&format!("{comma}\"retryAfterSeconds\":{seconds}"));
        }
        if !details.is_empty() {
            json.push_str(&format!(",\"details\":{{{details}}}"));
        }
        json.push_str(&format!(",\"code\":{}}}\n", self.code));
        json.into_bytes()
    }
}

/// A JSON string, escaped as Go's encoder does it.
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &Status) -> String {
        String::from_utf8(status.to_json()).expect("JSON is UTF-8")
    }

    #[test]
    fn bytes_are_the_servers() {
        let pods = GroupVersionResource::new("", "v1", "pods");
        assert_eq!(
            Status::not_found(&pods, "none").to_json(),
            include_bytes!("../../tests/golden/get_missing_json.body")
        );
        assert_eq!(
            Status::bad_request("unable to parse requirement: found '=', expected: identifier")
                .to_json(),
            include_bytes!("../../tests/golden/list_bad_selector.body")
        );
        let mut future =
            Status::too_large_version(ResourceVersion(999_999_999), ResourceVersion(678));
        future.retry_after_seconds = Some(1);
        assert_eq!(
            future.to_json(),
            include_bytes!("../../tests/golden/list_future_rv.body")
        );
    }

    #[test]
    fn groups_are_told_apart() {
        let deployments = GroupVersionResource::new("apps", "v1", "deployments");
        assert!(text(&Status::not_found(&deployments, "a")).contains(
            r#""message":"deployments.apps \"a\" not found","reason":"NotFound","details":{"name":"a","group":"apps","kind":"deployments"},"code":404"#
        ));
    }

    #[test]
    fn any_message_is_a_json_string() {
        let message = "a\"b\\c\n<&>\u{1}\u{2028}é";
        let json: serde_json::Value =
            serde_json::from_slice(&Status::unavailable(message).to_json()).expect("it is JSON");
        assert_eq!(json["message"], message);
        assert_eq!(
            (json["code"].as_u64(), json["reason"].as_str()),
            (Some(503), Some("ServiceUnavailable"))
        );
    }
}
