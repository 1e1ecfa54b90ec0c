//! Field selectors: `field=value`, `field==value`, `field!=value`, joined by commas.

use std::fmt;

use crate::k8s::order;
use crate::k8s::selector::SelectorError;

/// A field selector. Empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldSelector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Term {
    field: String,
    negated: bool,
    value: String,
}

impl FieldSelector {
    /// The field that every resource can be selected by.
    pub const NAME: &'static str = "metadata.name";

    /// Parses a selector (`fields.ParseSelector`): in values `\`, `,` and `=` are escaped by `\`; the first operator found
    /// splits a term.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let wrong = || SelectorError {
                message: format!("invalid selector: '{text}'; can't understand '{part}'"),
            };
            let (field, negated, value) = split_term(part).ok_or_else(wrong)?;
            terms.push(Term {
                field: field.to_owned(),
                negated,
                value: unescape(value)?,
            });
        }
        order::natural(&mut terms);
        terms.dedup();
        Ok(Self(terms))
    }

    /// The selector of one object by name.
    pub fn name(name: &str) -> Self {
        Self(vec![Term {
            field: Self::NAME.to_owned(),
            negated: false,
            value: name.to_owned(),
        }])
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its terms: field, whether it must differ, value.
    pub fn terms(&self) -> impl Iterator<Item = (&str, bool, &str)> {
        self.0
            .iter()
            .map(|term| (term.field.as_str(), term.negated, term.value.as_str()))
    }

    /// The one name that it selects, if it pins one.
    pub fn pinned_name(&self) -> Option<&str> {
        self.terms()
            .find(|(field, negated, _)| *field == Self::NAME && !negated)
            .map(|(_, _, value)| value)
    }

    /// Whether an object is selected; `value_of` tells a field's value, absent fields compare as empty.
    pub fn matches(&self, value_of: impl Fn(&str) -> Option<String>) -> bool {
        self.0
            .iter()
            .all(|term| (value_of(&term.field).unwrap_or_default() == term.value) != term.negated)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, term) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}", term.field)?;
            for letter in term.value.chars() {
                if matches!(letter, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for at in 0..term.len() {
        let Some(rest) = term.get(at..) else { continue };
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..at], negated, value));
            }
        }
    }
    None
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    if !text.contains(['\\', ',', '=']) {
        return Ok(text.to_owned());
    }
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => {
                    return Err(SelectorError {
                        message: format!(
                            "invalid field selector: invalid escape sequence: \\{other}"
                        ),
                    });
                }
                None => {
                    return Err(SelectorError {
                        message: "invalid field selector: invalid escape sequence: \\".into(),
                    });
                }
            },
            ',' | '=' => {
                return Err(SelectorError {
                    message: format!(
                        "invalid field selector: unescaped character in value: {letter}"
                    ),
                });
            }
            letter => plain.push(letter),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FieldSelector {
        FieldSelector::parse(text).expect(text)
    }

    #[test]
    fn terms_have_one_canonical_order_and_operator() {
        for (text, canonical) in [
            ("", ""),
            ("metadata.name=a", "metadata.name=a"),
            ("metadata.name==a", "metadata.name=a"),
            ("spec.clusterIP!=None", "spec.clusterIP!=None"),
            ("b=1,a!=2", "a!=2,b=1"),
            ("a=1,a=1", "a=1"),
            ("a=", "a="),
            (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
        ] {
            let selector = parse(text);
            assert_eq!(selector.to_string(), canonical, "{text:?}");
            assert_eq!(parse(canonical), selector, "{canonical:?} parses back");
        }
    }

    #[test]
    fn what_the_server_refuses_is_refused() {
        for text in ["a", "a=b=c", r"a=b\c", "a=b\\", "metadata.name"] {
            assert!(FieldSelector::parse(text).is_err(), "{text:?}");
        }
        let error = FieldSelector::parse("abc").expect_err("no operator");
        assert_eq!(
            error.message,
            "invalid selector: 'abc'; can't understand 'abc'"
        );
    }

    #[test]
    fn absent_fields_compare_as_empty() {
        let value_of = |field: &str| (field == "spec.nodeName").then(|| "edge-00".to_owned());
        assert!(parse("spec.nodeName=edge-00").matches(value_of));
        assert!(!parse("spec.nodeName!=edge-00").matches(value_of));
        assert!(parse("status.phase=").matches(value_of));
        assert!(parse("status.phase!=Failed,spec.nodeName=edge-00").matches(value_of));
        assert!(!parse("status.phase!=").matches(value_of));
        assert!(parse("").matches(value_of));
    }

    #[test]
    fn a_pinned_name_is_known() {
        assert_eq!(parse("metadata.name=a,spec.x=1").pinned_name(), Some("a"));
        assert_eq!(parse("metadata.name!=a").pinned_name(), None);
        assert_eq!(FieldSelector::name("a"), parse("metadata.name=a"));
    }
}
