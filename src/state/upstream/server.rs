//! The API servers that there are, and in which order they are tried.

use std::cell::Cell;
use std::rc::Rc;

use crate::io::http::h2;

/// Where an API server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The name that its certificate must have, when it is not `host`.
    pub tls_name: Option<String>,
}

/// Which of several servers is used (YurtHub's `--lb-mode`). One is at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The next one with each new connection, beginning anywhere: over a fleet all have their share.
    #[default]
    RoundRobin,
    /// The first one that can be reached; an earlier one is used again when it is back.
    Priority,
}

/// A server, and what is known of it.
pub struct Server {
    pub(super) address: Address,
    /// What requests name it by.
    pub(super) authority: Rc<str>,
    /// How many streams it allows.
    pub(super) allowed: h2::Allowed,
}

/// All servers.
pub(super) struct Servers {
    list: Vec<Rc<Server>>,
    balance: Balance,
    next: Cell<usize>,
}

impl Servers {
    /// `start`: which one round robin begins with.
    pub(super) fn new(addresses: &[Address], balance: Balance, start: u32) -> Self {
        let list = addresses.iter().map(|address| {
            let host = if address.host.contains(':') {
                format!("[{}]", address.host)
            } else {
                address.host.clone()
            };
            Rc::new(Server {
                address: address.clone(),
                authority: format!("{host}:{}", address.port).into(),
                allowed: Rc::default(),
            })
        });
        Self {
            list: list.collect(),
            balance,
            next: Cell::new(usize::try_from(start).unwrap_or(0)),
        }
    }

    /// Whether they are these.
    pub(super) fn are(&self, addresses: &[Address], balance: Balance) -> bool {
        let own = self.list.iter().map(|server| &server.address);
        self.balance == balance && own.eq(addresses)
    }

    /// The servers in the order in which the next connection tries them.
    pub(super) fn order(&self) -> Vec<Rc<Server>> {
        let mut order = self.list.clone();
        if self.balance == Balance::RoundRobin && !order.is_empty() {
            let at = self.next.get() % order.len();
            self.next.set(at + 1);
            order.rotate_left(at);
        }
        order
    }

    /// The servers that are to be preferred to this one.
    pub(super) fn before(&self, server: &Rc<Server>) -> Vec<Rc<Server>> {
        let at = match self.balance {
            Balance::RoundRobin => None,
            Balance::Priority => self.list.iter().position(|own| Rc::ptr_eq(own, server)),
        };
        self.list
            .get(..at.unwrap_or(0))
            .unwrap_or_default()
            .to_vec()
    }

    /// All of them, for people.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.list.iter().map(|server| &*server.authority).collect();
        names.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(balance: Balance) -> Servers {
        let address = |host: &str| Address {
            host: host.into(),
            port: 6443,
            tls_name: None,
        };
        Servers::new(
            &[address("a"), address("b"), address("2001:db8::1")],
            balance,
            4,
        )
    }

    fn names(order: Vec<Rc<Server>>) -> Vec<String> {
        order
            .iter()
            .map(|server| server.authority.to_string())
            .collect()
    }

    #[test]
    fn round_robin_begins_anywhere_and_goes_on_with_each_connection() {
        let servers = servers(Balance::RoundRobin);
        let six = "[2001:db8::1]:6443";
        assert_eq!(names(servers.order()), ["b:6443", six, "a:6443"]);
        assert_eq!(names(servers.order()), [six, "a:6443", "b:6443"]);
        assert_eq!(names(servers.order()), ["a:6443", "b:6443", six]);
        assert!(servers.before(&servers.order()[2]).is_empty());
    }

    #[test]
    fn priority_is_the_order_as_it_was_said() {
        let servers = servers(Balance::Priority);
        for _ in 0..2 {
            assert_eq!(names(servers.order())[..2], ["a:6443", "b:6443"]);
        }
        let last = servers.order().pop().expect("three");
        assert_eq!(names(servers.before(&last)), ["a:6443", "b:6443"]);
        assert!(servers.before(&servers.order()[0]).is_empty());
        let addresses: Vec<Address> = servers.list.iter().map(|s| s.address.clone()).collect();
        assert!(servers.are(&addresses, Balance::Priority));
        assert!(!servers.are(&addresses, Balance::RoundRobin));
        assert!(!servers.are(&addresses[1..], Balance::Priority));
        assert_eq!(servers.names(), "a:6443,b:6443,[2001:db8::1]:6443");
    }
}
