//! What a client accepts.
//!
//! The API server tries the clauses of `Accept` in order of their `q`, then as they stand, and takes the first that it can
//! make (kubernetes-wire 1.4). Media type parameters (`as=Table`) ask for a transformed object.

use crate::k8s::encoding::Encoding;
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
    /// What can be made here of objects that are held in that encoding.
    Made(Encoding, Shape),
    /// Anything at all: the API server makes plain JSON of it.
    Any,
    /// Something that only the server makes: a Table, YAML, CBOR.
    Transform,
    /// Something that no API server makes.
    Other,
}

/// What is shown of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Object,
    /// Its metadata.
    Metadata,
}

impl Accept {
    /// Reads the field; empty or absent asks for JSON.
    pub fn parse(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self {
                clauses: vec![Form::Made(Encoding::Json, Shape::Object)],
            };
        }
        let mut clauses: Vec<(u32, Form)> = text.split(',').filter_map(clause).collect();
        // Stable: clauses of the same weight stay in their order.
        order::by_key(&mut clauses, |(weight, _)| std::cmp::Reverse(*weight));
        Self {
            clauses: clauses.into_iter().map(|(_, form)| form).collect(),
        }
    }

    /// The encodings in which whole objects are accepted, the preferred one first.
    pub fn encodings(&self) -> impl Iterator<Item = Encoding> {
        self.clauses.iter().filter_map(|form| match form {
            Form::Made(encoding, Shape::Object) => Some(*encoding),
            Form::Any => Some(Encoding::Json),
            _ => None,
        })
    }

    /// Whether anything at all is accepted, though it was not what was hoped for.
    pub fn anything(&self) -> bool {
        self.clauses.contains(&Form::Any)
    }

    /// The first choice is something else than objects.
    pub fn transform(&self) -> bool {
        let first = self.clauses.iter().find(|form| **form != Form::Other);
        matches!(
            first,
            Some(Form::Transform | Form::Made(_, Shape::Metadata))
        )
    }

    /// What is asked for first of that which can be made of objects in `encoding`; `None` when that is not accepted.
    pub fn shape(&self, encoding: Encoding) -> Option<Shape> {
        self.clauses.iter().find_map(|form| match form {
            Form::Made(own, shape) if *own == encoding => Some(*shape),
            Form::Any if encoding == Encoding::Json => Some(Shape::Object),
            _ => None,
        })
    }

    /// Whether something is accepted that can be made here.
    pub fn made(&self) -> bool {
        let mut forms = self.clauses.iter();
        forms.any(|form| matches!(form, Form::Made(..) | Form::Any))
    }

    /// The encoding in which a `Status` is read: JSON by everybody but those who accept protobuf and nothing else.
    pub fn status(&self) -> Encoding {
        let mut encodings = self.clauses.iter().filter_map(|form| match form {
            Form::Made(encoding, _) => Some(*encoding),
            Form::Transform | Form::Any => Some(Encoding::Json),
            Form::Other => None,
        });
        match encodings.next() {
            Some(Encoding::Protobuf) if encodings.all(|own| own == Encoding::Protobuf) => {
                Encoding::Protobuf
            }
            _ => Encoding::Json,
        }
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
    let shape = if metadata {
        Shape::Metadata
    } else {
        Shape::Object
    };
    let made = !transformed || metadata;
    let form = match kind.as_str() {
        "application/*" | "*/*" if !transformed => Form::Any,
        "application/json" if made => Form::Made(Encoding::Json, shape),
        "application/vnd.kubernetes.protobuf" if made => Form::Made(Encoding::Protobuf, shape),
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
        let shape = |text: &str, encoding| Accept::parse(text).shape(encoding);
        for text in [JSON, &format!("{PROTOBUF},{JSON},application/json")] {
            assert_eq!(shape(text, Encoding::Json), Some(Shape::Metadata), "{text}");
        }
        assert_eq!(shape("", Encoding::Json), Some(Shape::Object));
        assert_eq!(shape("", Encoding::Protobuf), None);
        assert_eq!(shape(PROTOBUF, Encoding::Json), None);
        assert_eq!(shape(PROTOBUF, Encoding::Protobuf), Some(Shape::Metadata));
        let objects_first = format!("application/json,{JSON}");
        assert_eq!(shape(&objects_first, Encoding::Json), Some(Shape::Object));
        let table = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json";
        assert_eq!(shape(table, Encoding::Json), Some(Shape::Object));
        let only = json_only(&format!("{PROTOBUF}, {JSON},application/json,*/*"));
        assert_eq!(only, Some(format!("{JSON},application/json")));
        assert_eq!(json_only(PROTOBUF), None);
    }

    #[test]
    fn real_clients_are_understood() {
        use Encoding::Json;
        use Encoding::Protobuf;
        const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io";
        const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        for (who, text, encodings, transform, status) in [
            ("nothing", "", &[Json][..], false, Json),
            (
                "kubelet",
                "application/vnd.kubernetes.protobuf,application/json",
                &[Protobuf, Json],
                false,
                Json,
            ),
            (
                "kube-proxy",
                "application/vnd.kubernetes.protobuf, */*",
                &[Protobuf, Json],
                false,
                Json,
            ),
            (
                "client-go 1.31",
                "application/json, */*",
                &[Json, Json],
                false,
                Json,
            ),
            ("dynamic client", "application/json", &[Json], false, Json),
            ("curl", "*/*", &[Json], false, Json),
            ("kubectl 1.28", TABLE, &[], true, Json),
            (
                "kubectl get",
                &format!("{TABLE},application/json"),
                &[Json],
                true,
                Json,
            ),
            ("metadata client", METADATA, &[Json], true, Json),
            (
                "protobuf only",
                "application/vnd.kubernetes.protobuf",
                &[Protobuf],
                false,
                Protobuf,
            ),
            ("yaml", "application/yaml", &[], true, Json),
            (
                "cbor first",
                "application/cbor,application/json",
                &[Json],
                true,
                Json,
            ),
            (
                "a browser",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                &[Json],
                false,
                Json,
            ),
            ("html only", "text/html", &[], false, Json),
        ] {
            let accept = Accept::parse(text);
            assert_eq!(accept.encodings().collect::<Vec<_>>(), encodings, "{who}");
            assert_eq!(accept.transform(), transform, "{who}");
            assert_eq!(accept.status(), status, "{who}");
            let made = !["kubectl 1.28", "yaml", "html only"].contains(&who);
            assert_eq!(accept.made(), made, "{who}");
        }
    }

    #[test]
    fn weights_order_the_clauses() {
        let accept = Accept::parse("application/json;q=0.5, application/yaml");
        assert!(accept.made() && accept.transform());
        assert!(!Accept::parse("application/json;q=0").made());
        assert!(
            !Accept::parse("application/json;as=Table;q=0.1,application/json;q=0.2").transform()
        );
        assert!(!Accept::parse(" ; , ;q").made());
        let weighed = "application/json;q=0.5,application/vnd.kubernetes.protobuf";
        assert_eq!(
            Accept::parse(weighed).encodings().next(),
            Some(Encoding::Protobuf)
        );
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
