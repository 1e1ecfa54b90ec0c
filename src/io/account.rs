//! Users and groups by name: `/etc/passwd` and `/etc/group` as they stand, nothing of what a C library would ask beyond.

use std::fs;

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The account that `NAME[:GROUP]` or `UID[:GID]` says; an error says what is wrong with it. Without a group it is the
/// user's own of `/etc/passwd`, and for a number that is not there the group of the same number.
pub fn find(text: &str) -> Result<Account, String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    resolve(text, &read("/etc/passwd"), &read("/etc/group"))
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<Account, String> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    // NAME:PASSWORD:UID:GID:...
    let user = line(passwd, name);
    let uid = number(name)
        .or_else(|| number(user?.nth(1)?))
        .ok_or_else(|| format!("there is no user {name:?} in /etc/passwd"))?;
    let gid = match group_name {
        // NAME:PASSWORD:GID:...
        Some(name) => number(name)
            .or_else(|| number(line(group, name)?.nth(1)?))
            .ok_or_else(|| format!("there is no group {name:?} in /etc/group"))?,
        None => line(passwd, name)
            .and_then(|mut user| number(user.nth(2)?))
            .unwrap_or(uid),
    };
    if uid == 0 {
        return Err("must be a user that is not root".to_owned());
    }
    Ok(Account { uid, gid })
}

/// What stands behind the name on the line of `name`, or of the user whose number it is.
fn line<'a>(text: &'a str, name: &str) -> Option<std::str::Split<'a, char>> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let named = fields.next()? == name;
        let numbered = fields.clone().nth(1) == Some(name);
        (named || numbered).then_some(fields)
    })
}

/// A number that a user or a group can have; the largest one means none.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\ntoono:x:990:991::/:/bin/false\n";
    const GROUP: &str = "root:x:0:\ntoono:x:991:\nadm:x:4:toono\n";

    #[test]
    fn names_and_numbers_are_found() {
        for (text, uid, gid) in [
            ("toono", 990, 991),
            ("toono:adm", 990, 4),
            ("toono:0", 990, 0),
            ("990", 990, 991),
            ("990:adm", 990, 4),
            ("1234", 1234, 1234),
            ("1234:5", 1234, 5),
        ] {
            assert_eq!(
                resolve(text, PASSWD, GROUP),
                Ok(Account { uid, gid }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        for (text, why) in [
            ("nobody", "no user \"nobody\" in /etc/passwd"),
            ("", "no user \"\""),
            ("broken", "no user \"broken\""),
            ("toono:x", "no group \"x\" in /etc/group"),
            ("toono:", "no group \"\""),
            ("4294967295", "no user \"4294967295\""),
            ("root", "not root"),
            ("0:5", "not root"),
        ] {
            let error = resolve(text, PASSWD, GROUP).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
