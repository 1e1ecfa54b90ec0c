//! What a client accepts.
//!
//! The API server tries the clauses of `Accept` in order of their `q`, then as they stand, and takes the first that it can
//! make (kubernetes-wire 1.4). Media type parameters (`as=Table`) ask for a transformed object.

use crate::k8s::order;

/// An `Accept` field, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// In the order in which they are tried; what is not wanted at all is left out.
    clauses: Vec<Form>,
}

/// What one clause asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Objects as plain JSON, or as anything.
    Json,
    /// The metadata of objects, in JSON.
    Metadata,
    /// Something that only the server makes: a Table, YAML, CBOR, metadata in protobuf.
    Transform,
    /// Objects as protobuf.
    Protobuf,
    /// Something that no API server makes.
    Other,
}

impl Accept {
    /// Reads the field; empty or absent asks for JSON.
    pub fn parse(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self {
                clauses: vec![Form::Json],
            };
        }
        let mut clauses: Vec<(u32, Form)> = text.split(',').filter_map(clause).collect();
        // Stable: clauses of the same weight stay in their order.
        order::by_key(&mut clauses, |(weight, _)| std::cmp::Reverse(*weight));
        Self {
            clauses: clauses.into_iter().map(|(_, form)| form).collect(),
        }
    }

    /// Plain JSON is among what is accepted.
    pub fn plain_json(&self) -> bool {
        self.clauses.contains(&Form::Json)
    }

    /// The first choice is something else than objects.
    pub fn transform(&self) -> bool {
        let first = self.clauses.iter().find(|form| **form != Form::Other);
        matches!(first, Some(Form::Transform | Form::Metadata))
    }

    /// Of what can be made here, plain JSON and metadata in JSON, metadata is asked for first.
    pub fn metadata(&self) -> bool {
        let mut made = self.clauses.iter();
        made.find(|form| matches!(form, Form::Json | Form::Metadata)) == Some(&Form::Metadata)
    }
}

/// The clauses that ask for JSON in some form, as they stand; none when there is none.
pub fn json_only(text: &str) -> Option<String> {
    let json = text.split(',').map(str::trim).filter(|clause| {
        let kind = clause.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    });
    let clauses: Vec<&str> = json.collect();
    (!clauses.is_empty()).then(|| clauses.join(","))
}

/// The weight, in thousandths, and the form of one clause; `None` for weight 0 or nothing.
fn clause(text: &str) -> Option<(u32, Form)> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts
        .next()
        .filter(|kind| !kind.is_empty())?
        .to_ascii_lowercase();
    let mut weight = 1000;
    let mut transformed = false;
    let mut metadata = false;
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim() {
            "q" => weight = thousandths(value.trim()),
            "as" => {
                transformed = true;
                metadata = matches!(
                    value.trim(),
                    "PartialObjectMetadata" | "PartialObjectMetadataList"
                );
            }
            _ => {}
        }
    }
    let form = match kind.as_str() {
        "application/json" | "application/*" | "*/*" if !transformed => Form::Json,
        "application/vnd.kubernetes.protobuf" if !transformed => Form::Protobuf,
        "application/json" if metadata => Form::Metadata,
        "application/json" | "application/*" | "*/*" | "application/vnd.kubernetes.protobuf" => {
            Form::Transform
        }
        "application/yaml" | "application/cbor" | "application/cbor-seq" => Form::Transform,
        _ => Form::Other,
    };
    (weight > 0).then_some((weight, form))
}

/// A weight such as `0.8` (RFC 9110, 12.4.2: at most three decimals) in thousandths; what is none is 0.
fn thousandths(text: &str) -> u32 {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let padded = format!("{decimals:0<3}");
    match (
        whole,
        padded
            .get(..3)
            .and_then(|digits| digits.parse::<u32>().ok()),
    ) {
        ("0", Some(part)) => part,
        ("1", Some(_)) => 1000,
        _ => 0,
    }
}

/// Whether the API server answers this client with indented JSON when it does not say `pretty` (kubernetes-wire 1.2).
pub fn pretty_by_agent(user_agent: &str) -> bool {
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|start| user_agent.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_made_here_when_it_comes_before_objects() {
        const PROTOBUF: &str =
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        const JSON: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let metadata = |text: &str| Accept::parse(text).metadata();
        assert!(metadata(JSON) && metadata(&format!("{PROTOBUF},{JSON},application/json")));
        assert!(!metadata("") && !metadata(PROTOBUF));
        assert!(!metadata(&format!("application/json,{JSON}")));
        assert!(!metadata(
            "application/json;as=Table;g=meta.k8s.io;v=v1,application/json"
        ));
        let only = json_only(&format!("{PROTOBUF}, {JSON},application/json,*/*"));
        assert_eq!(only, Some(format!("{JSON},application/json")));
        assert_eq!(json_only(PROTOBUF), None);
    }

    #[test]
    fn real_clients_are_understood() {
        const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io";
        for (who, text, plain_json, transform) in [
            ("nothing", "", true, false),
            (
                "kubelet",
                "application/vnd.kubernetes.protobuf,application/json",
                true,
                false,
            ),
            (
                "kube-proxy",
                "application/vnd.kubernetes.protobuf, */*",
                true,
                false,
            ),
            ("client-go 1.31", "application/json, */*", true, false),
            ("dynamic client", "application/json", true, false),
            ("curl", "*/*", true, false),
            ("kubectl 1.28", TABLE, false, true),
            (
                "kubectl get",
                &format!("{TABLE},application/json"),
                true,
                true,
            ),
            (
                "metadata client",
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
                true,
                true,
            ),
            (
                "protobuf only",
                "application/vnd.kubernetes.protobuf",
                false,
                false,
            ),
            ("yaml", "application/yaml", false, true),
            (
                "cbor first",
                "application/cbor,application/json",
                true,
                true,
            ),
            (
                "a browser",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
                false,
            ),
            ("html only", "text/html", false, false),
        ] {
            let accept = Accept::parse(text);
            assert_eq!(
                (accept.plain_json(), accept.transform()),
                (plain_json, transform),
                "{who}"
            );
        }
    }

    #[test]
    fn weights_order_the_clauses() {
        let accept = Accept::parse("application/json;q=0.5, application/yaml");
        assert!(accept.plain_json() && accept.transform());
        assert!(!Accept::parse("application/json;q=0").plain_json());
        assert!(
            !Accept::parse("application/json;as=Table;q=0.1,application/json;q=0.2").transform()
        );
        assert!(!Accept::parse(" ; , ;q").plain_json());
    }

    #[test]
    fn people_at_a_terminal_get_indented_text() {
        assert!(
            pretty_by_agent("curl/8.5.0")
                && pretty_by_agent("Wget/1.21")
                && pretty_by_agent("Mozilla/5.0 (X11)")
        );
        assert!(
            !pretty_by_agent("kubelet/v1.36.3")
                && !pretty_by_agent("")
                && !pretty_by_agent("libcurl")
        );
    }
}
