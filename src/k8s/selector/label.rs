//! Label selectors: `key`, `!key`, `key=v`, `key!=v`, `key in (a,b)`, `key notin (a,b)`, `key>n`, `key<n`, joined by commas.

use std::fmt;

use crate::k8s::order;
use crate::k8s::selector::SelectorError;

/// A label selector. Empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Condition {
    Exists,
    DoesNotExist,
    /// `=`, `==` and `in`: one of these, sorted.
    In(Vec<String>),
    /// `!=` and `notin`: none of these, sorted, or absent.
    NotIn(Vec<String>),
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// Parses a selector (`labels.Parse`).
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser {
            tokens: tokens(text),
            at: 0,
        };
        let mut requirements = parser.parse().map_err(|why| SelectorError {
            message: format!("unable to parse requirement: {why}"),
        })?;
        order::natural(&mut requirements);
        requirements.dedup();
        Ok(Self(requirements))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &[(String, String)]) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels
                .iter()
                .find(|(key, _)| *key == requirement.key)
                .map(|(_, value)| value);
            match (&requirement.condition, value) {
                (Condition::Exists, value) => value.is_some(),
                (Condition::DoesNotExist, value) => value.is_none(),
                (Condition::In(values), value) => value.is_some_and(|value| values.contains(value)),
                (Condition::NotIn(values), value) => {
                    value.is_none_or(|value| !values.contains(value))
                }
                (Condition::GreaterThan(bound), value) => {
                    number(value).is_some_and(|value| value > *bound)
                }
                (Condition::LessThan(bound), value) => {
                    number(value).is_some_and(|value| value < *bound)
                }
            }
        })
    }
}

fn number(value: Option<&String>) -> Option<i64> {
    value?.parse().ok()
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Requirement { key, condition }) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            match condition {
                Condition::Exists => f.write_str(key)?,
                Condition::DoesNotExist => write!(f, "!{key}")?,
                Condition::In(values) => match &values[..] {
                    [value] => write!(f, "{key}={value}")?,
                    values => write!(f, "{key} in ({})", values.join(","))?,
                },
                Condition::NotIn(values) => match &values[..] {
                    [value] => write!(f, "{key}!={value}")?,
                    values => write!(f, "{key} notin ({})", values.join(","))?,
                },
                Condition::GreaterThan(bound) => write!(f, "{key}>{bound}")?,
                Condition::LessThan(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// A word or a sign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Word(text) | Self::Sign(text) => text,
            Self::End => "",
        }
    }
}

const SIGNS: &str = "=!(),<>";

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return tokens;
        }
        let word = rest
            .find(|letter: char| SIGNS.contains(letter) || " \t\r\n".contains(letter))
            .unwrap_or(rest.len());
        let length = match word {
            0 if rest.starts_with("==") || rest.starts_with("!=") => 2,
            0 => 1,
            length => length,
        };
        let (token, after) = rest.split_at(length);
        tokens.push(if word == 0 {
            Token::Sign(token)
        } else {
            Token::Word(token)
        });
        rest = after;
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn parse(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.peek() == Token::End {
            return Ok(requirements);
        }
        loop {
            match self.peek() {
                Token::Word(_) | Token::Sign("!") => requirements.push(self.requirement()?),
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Sign(",") => {
                    let after = self.peek();
                    if !matches!(after, Token::Word(_) | Token::Sign("!")) {
                        return Err(format!(
                            "found '{}', expected: identifier after ','",
                            after.text()
                        ));
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Sign("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        check_key(key)?;
        let condition = match self.peek() {
            _ if absent => Condition::DoesNotExist,
            Token::End | Token::Sign(",") => Condition::Exists,
            _ => self.condition(key)?,
        };
        Ok(Requirement {
            key: key.to_owned(),
            condition,
        })
    }

    fn condition(&mut self, key: &str) -> Result<Condition, String> {
        let operator = self.next();
        match operator {
            Token::Word("in") | Token::Word("notin") => {
                let mut values = self.values()?;
                order::natural(&mut values);
                values.dedup();
                for value in &values {
                    check_value(key, value)?;
                }
                let values = values.into_iter().map(str::to_owned).collect();
                Ok(if operator == Token::Word("in") {
                    Condition::In(values)
                } else {
                    Condition::NotIn(values)
                })
            }
            Token::Sign("=" | "==") => Ok(Condition::In(vec![self.value(key)?.to_owned()])),
            Token::Sign("!=") => Ok(Condition::NotIn(vec![self.value(key)?.to_owned()])),
            Token::Sign(">" | "<") => {
                let text = self.value(key)?;
                let bound = text.parse().map_err(|_| {
                    format!("values[0][{key}]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer")
                })?;
                Ok(if operator == Token::Sign(">") {
                    Condition::GreaterThan(bound)
                } else {
                    Condition::LessThan(bound)
                })
            }
            other => Err(format!(
                "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                other.text()
            )),
        }
    }

    /// The value behind `=` and its like; nothing is an empty one.
    fn value(&mut self, key: &str) -> Result<&'a str, String> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(""),
            Token::Word(value) => {
                self.next();
                check_value(key, value)?;
                Ok(value)
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// The values behind `in`: words and commas between parentheses; nothing between two commas is an empty value.
    fn values(&mut self) -> Result<Vec<&'a str>, String> {
        match self.next() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = Vec::new();
        loop {
            let value = match self.peek() {
                Token::Word(value) => {
                    self.next();
                    value
                }
                Token::Sign("," | ")") => "",
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', ')' or identifier",
                        other.text()
                    ));
                }
            };
            values.push(value);
            match self.next() {
                Token::Sign(",") => {}
                Token::Sign(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

/// A label key: an optional DNS subdomain and a slash, then a name (`validation.IsQualifiedName`).
fn check_key(key: &str) -> Result<(), String> {
    let wrong = || {
        format!(
            "key: Invalid value: {key:?}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    };
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let subdomain = |text: &str| {
        text.len() <= 253
            && text.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            })
    };
    if name.is_empty() || !is_name(name) || prefix.is_some_and(|prefix| !subdomain(prefix)) {
        return Err(wrong());
    }
    Ok(())
}

fn check_value(key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value) {
        return Ok(());
    }
    Err(format!(
        "values[0][{key}]: Invalid value: {value:?}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    ))
}

/// At most 63 of letters, digits, `-`, `_`, `.`, a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && edge(bytes.first())
        && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> LabelSelector {
        LabelSelector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn forms_have_one_canonical_text() {
        for (text, canonical) in [
            ("", ""),
            ("  ", ""),
            ("a", "a"),
            ("!a", "!a"),
            ("! a", "!a"),
            ("a=1", "a=1"),
            ("a==1", "a=1"),
            ("a = 1 , b", "a=1,b"),
            ("b,a=1", "a=1,b"),
            ("a!=1", "a!=1"),
            ("a=", "a="),
            ("a=,b", "a=,b"),
            ("a!=", "a!="),
            ("a in (y,x)", "a in (x,y)"),
            ("a in (x)", "a=x"),
            ("a in (x,x)", "a=x"),
            ("a in ()", "a="),
            ("a in (,)", "a="),
            ("a in (x,,y)", "a in (,x,y)"),
            ("a notin (x, y)", "a notin (x,y)"),
            ("a in (in,notin)", "a in (in,notin)"),
            ("in in (in)", "in=in"),
            ("a>1", "a>1"),
            ("a<2", "a<2"),
            ("app.kubernetes.io/name=x", "app.kubernetes.io/name=x"),
            (
                "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name",
                "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name",
            ),
        ] {
            let selector = parse(text);
            assert_eq!(selector.to_string(), canonical, "{text:?}");
            assert_eq!(parse(canonical), selector, "{canonical:?} parses back");
        }
    }

    #[test]
    fn what_the_server_refuses_is_refused_in_its_words() {
        for (text, message) in [
            ("a===", "found '=', expected: identifier"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            (
                ",a",
                "found ',', expected: !, identifier, or 'end of string'",
            ),
            ("a,", "found '', expected: identifier after ','"),
            ("a,,b", "found ',', expected: identifier after ','"),
            ("!", "found '', expected: identifier"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in x", "found 'x' expected: '('"),
            ("a in (x", "found '', expected: ',' or ')'"),
            ("a in (x y)", "found 'y', expected: ',' or ')'"),
        ] {
            let error = LabelSelector::parse(text).expect_err(text);
            assert_eq!(
                error.message,
                format!("unable to parse requirement: {message}"),
                "{text:?}"
            );
        }
        let long = "x".repeat(64);
        for text in [
            "a=-b",
            "-a=b",
            "A_/b=c",
            "a/b/c",
            "/a",
            "a/",
            "a>x",
            "a=b/c",
            &long,
            &format!("a={long}"),
        ] {
            assert!(LabelSelector::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn matching_is_the_servers() {
        let labels = vec![
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), String::new()),
        ];
        for (text, selected) in [
            ("", true),
            ("a", true),
            ("!a", false),
            ("c", false),
            ("!c", true),
            ("a=1", true),
            ("a=2", false),
            ("a!=1", false),
            ("a!=2", true),
            ("c!=2", true),
            ("c=", false),
            ("b=", true),
            ("a in (1,2)", true),
            ("a notin (1,2)", false),
            ("c notin (1,2)", true),
            ("a>0", true),
            ("a>1", false),
            ("a<2", true),
            ("b<2", false),
            ("c<2", false),
            ("a=1,b=,!c", true),
            ("a=1,c", false),
        ] {
            assert_eq!(parse(text).matches(&labels), selected, "{text:?}");
        }
    }
}
