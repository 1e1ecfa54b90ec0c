//! The server's own reading of label and field selectors, written apart from the product's.

use serde_json::Value;

/// One requirement on a label.
#[derive(Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A parsed label selector.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Parses; the error is the message of the 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            requirements.push(requirement(term.trim())?);
        }
        Ok(Self(requirements))
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels (`metadata.labels`, or null) is selected.
    pub fn matches(&self, labels: &Value) -> bool {
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                value(key).is_some_and(|v| values.iter().any(|w| w == v))
            }
            Requirement::NotIn(key, values) => {
                !value(key).is_some_and(|v| values.iter().any(|w| w == v))
            }
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
            Requirement::Greater(key, bound) => value(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v > *bound),
            Requirement::Less(key, bound) => value(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v < *bound),
        })
    }
}

/// Splits at the commas that are not inside parentheses; an empty text has no terms.
fn split_terms(text: &str) -> Vec<&str> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut terms = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn requirement(term: &str) -> Result<Requirement, String> {
    if let Some(key) = term.strip_prefix('!') {
        return Ok(Requirement::Absent(key_of(key)?));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Ok(Requirement::NotIn(key_of(key)?, vec![value_of(value)?]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Requirement::In(key_of(key)?, vec![value_of(value)?]));
    }
    for (sign, greater) in [('>', true), ('<', false)] {
        if let Some((key, value)) = term.split_once(sign) {
            let bound = value.trim().parse().map_err(|_| {
                "for 'Gt', 'Lt' operators, the value must be an integer".to_string()
            })?;
            let key = key_of(key)?;
            return Ok(if greater {
                Requirement::Greater(key, bound)
            } else {
                Requirement::Less(key, bound)
            });
        }
    }
    let mut words = term.splitn(2, char::is_whitespace);
    let key = words.next().unwrap_or_default();
    match words.next().map(str::trim) {
        None => Ok(Requirement::Exists(key_of(key)?)),
        Some(rest) => {
            let (operator, list) = rest
                .split_once('(')
                .and_then(|(operator, list)| Some((operator.trim(), list.strip_suffix(')')?)))
                .ok_or_else(|| format!("unable to parse requirement: found '{rest}', expected: in, notin, =, ==, !=, gt, lt"))?;
            let values = list
                .split(',')
                .map(value_of)
                .collect::<Result<Vec<_>, _>>()?;
            match operator {
                "in" => Ok(Requirement::In(key_of(key)?, values)),
                "notin" => Ok(Requirement::NotIn(key_of(key)?, values)),
                other => Err(format!(
                    "unable to parse requirement: found '{other}', expected: in, notin"
                )),
            }
        }
    }
}

fn key_of(text: &str) -> Result<String, String> {
    let key = text.trim();
    let name = key.rsplit('/').next().unwrap_or_default();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |text: &str| {
        text.bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
            && text
                .bytes()
                .last()
                .is_some_and(|b| b.is_ascii_alphanumeric())
    };
    if name.len() <= 63 && ends(name) && name.bytes().all(legal) && key.matches('/').count() <= 1 {
        Ok(key.into())
    } else {
        Err(format!(
            "unable to parse requirement: found '{key}', expected: identifier"
        ))
    }
}

fn value_of(text: &str) -> Result<String, String> {
    let value = text.trim();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if value.len() <= 63 && value.bytes().all(legal) {
        Ok(value.into())
    } else {
        Err(format!(
            "unable to parse requirement: values: Invalid value: \"{value}\""
        ))
    }
}

/// A parsed field selector: field, wanted value, equal or not.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Parses for a resource; the error is the message of the 400.
    pub fn parse(text: &str, resource: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = term.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) =
                term.split_once("==").or_else(|| term.split_once('='))
            {
                (field, value, true)
            } else {
                return Err(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ));
            };
            let known = matches!(field, "metadata.name" | "metadata.namespace")
                || resource == "pods"
                    && matches!(
                        field,
                        "spec.nodeName"
                            | "spec.hostNetwork"
                            | "spec.restartPolicy"
                            | "status.phase"
                            | "status.podIP"
                    )
                || resource == "nodes" && field == "spec.unschedulable"
                || resource == "namespaces" && field == "status.phase"
                || resource == "services" && matches!(field, "spec.clusterIP" | "spec.type")
                || resource == "secrets" && field == "type";
            if !known {
                return Err(format!("field label not supported: {field}"));
            }
            terms.push((field.into(), value.into(), equal));
        }
        Ok(Self(terms))
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the object is selected; an absent field is the empty string.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, wanted, equal)| {
            let pointer = format!("/{}", field.replace('.', "/"));
            let value = object.pointer(&pointer);
            let value = match field.as_str() {
                "spec.hostNetwork" | "spec.unschedulable" => {
                    let set = value.and_then(Value::as_bool).unwrap_or_default();
                    if set { "true" } else { "false" }
                }
                _ => value.and_then(Value::as_str).unwrap_or_default(),
            };
            (value == wanted) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;
    use super::Labels;
    use serde_json::json;

    #[test]
    fn labels_are_read_as_kubernetes_reads_them() {
        let labels = json!({"a": "1", "b": "x", "empty": ""});
        for (text, wanted) in [
            ("", true),
            ("a", true),
            ("!a", false),
            ("!z", true),
            ("a=1", true),
            ("a==1,b=x", true),
            ("a=1,b=y", false),
            ("a!=2", true),
            ("z!=2", true),
            ("b in (x, y)", true),
            ("b notin (x,y)", false),
            ("z notin (x)", true),
            ("a>0", true),
            ("a<1", false),
            ("empty=", true),
        ] {
            let selector = Labels::parse(text).expect(text);
            assert_eq!(selector.matches(&labels), wanted, "{text}");
        }
        for text in ["=", "a b", "a in x", "a in (x", "a=b=c", ",", "a,"] {
            assert!(Labels::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_are_read_and_unknown_ones_refused() {
        let object = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}});
        let parse = |text| Fields::parse(text, "pods");
        assert!(
            parse("metadata.name=p,spec.nodeName==n")
                .expect("ok")
                .matches(&object)
        );
        assert!(!parse("spec.nodeName!=n").expect("ok").matches(&object));
        assert!(parse("status.phase!=Failed").expect("ok").matches(&object));
        assert!(parse("spec.color=red").is_err());
        assert!(Fields::parse("spec.nodeName=n", "configmaps").is_err());
    }
}
