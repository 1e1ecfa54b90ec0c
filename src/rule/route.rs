//! Who answers a request: the cloud, the mirror, or nobody.
//!
//! A table, read top-down: tunnels first, then what is not a collection, then lists, gets and watches. Reachability is
//! an argument, so the same request may be routed twice: once as it comes, and again with `cloud: false` when the line
//! goes while it waits.

use crate::wire::request::Verb;

/// What the decision needs to know of a request and of the node.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The Kubernetes verb.
    pub verb: Verb,
    /// It asks for another protocol (exec, attach, port-forward, proxied WebSockets).
    pub upgrade: bool,
    /// It names a plain collection of a resource that is mirrored, with options that are understood.
    pub collection: bool,
    /// It asks for discovery, the version or the OpenAPI documents.
    pub document: bool,
    /// It asks for a token of a service account.
    pub token: bool,
    /// It is a write that a kubelet must be answered.
    pub write: bool,
    /// Its first choice is something that only the cloud makes: a Table, metadata only, YAML, CBOR, indented text.
    pub cloud_form: bool,
    /// Objects, or their metadata, in JSON or protobuf are among what it accepts.
    pub made: bool,
    /// Which version it asks for.
    pub version: Version,
    /// The cloud can be reached, as far as is known.
    pub cloud: bool,
    /// The mirror of exactly this collection is fed by a running watch.
    pub live: bool,
    /// A version was asked for that the live mirror has already passed, or any version will do.
    pub passed: bool,
}

/// The version that a list, get or watch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// None: the most recent.
    Recent,
    /// `0`, or one with no other condition: any that is not older.
    NotOlderThan,
    /// Exactly one version, or a page of one: nothing that the mirror keeps.
    Exact,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A raw tunnel to the cloud.
    Tunnel,
    /// The cloud, bytes untouched.
    Cloud,
    /// The cloud; what it answers is filtered and goes to the mirror too.
    Mirrored,
    /// A place in the log, online and offline.
    Watch,
    /// What the mirror knows.
    Mirror,
    /// The cloud, else what it said the last time.
    Document,
    /// The cloud, else the token that it gave the last time for the same.
    Token,
    /// The cloud, else as a kubelet can live with.
    Write,
    /// Nobody can: the line is down and this is not something that a mirror answers.
    Refuse,
    /// Nobody can in a form that the caller accepts.
    NotAcceptable,
}

/// Decides who answers.
pub fn route(facts: Facts) -> Route {
    if facts.upgrade {
        return if facts.cloud {
            Route::Tunnel
        } else {
            Route::Refuse
        };
    }
    if facts.document {
        return Route::Document;
    }
    if facts.token {
        return Route::Token;
    }
    if facts.write {
        return Route::Write;
    }
    if !facts.collection {
        return if facts.cloud {
            Route::Cloud
        } else {
            Route::Refuse
        };
    }
    match facts.verb {
        Verb::List | Verb::Get | Verb::Watch if !facts.made => {
            if facts.cloud {
                Route::Cloud
            } else {
                Route::NotAcceptable
            }
        }
        Verb::List | Verb::Get | Verb::Watch if facts.cloud_form && facts.cloud => Route::Cloud,
        Verb::Watch => Route::Watch,
        Verb::List
            if facts.cloud
                && facts.live
                && facts.passed
                && facts.version == Version::NotOlderThan =>
        {
            Route::Mirror
        }
        Verb::List | Verb::Get => {
            if facts.cloud {
                Route::Mirrored
            } else {
                Route::Mirror
            }
        }
        Verb::Create
        | Verb::Update
        | Verb::Patch
        | Verb::Delete
        | Verb::DeleteCollection
        | Verb::Other => {
            if facts.cloud {
                Route::Cloud
            } else {
                Route::Refuse
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Facts = Facts {
        verb: Verb::List,
        upgrade: false,
        collection: true,
        document: false,
        token: false,
        write: false,
        cloud_form: false,
        made: true,
        version: Version::Recent,
        cloud: true,
        live: false,
        passed: false,
    };

    #[test]
    fn a_list_is_the_clouds_while_it_can_be_reached() {
        assert_eq!(route(LIST), Route::Mirrored);
        assert_eq!(
            route(Facts {
                live: true,
                passed: true,
                ..LIST
            }),
            Route::Mirrored,
            "no version: the most recent"
        );
        assert_eq!(
            route(Facts {
                cloud: false,
                ..LIST
            }),
            Route::Mirror
        );
    }

    #[test]
    fn a_list_at_a_version_that_the_live_mirror_has_passed_stays_off_the_line() {
        let at_zero = Facts {
            version: Version::NotOlderThan,
            passed: true,
            ..LIST
        };
        assert_eq!(route(at_zero), Route::Mirrored, "not live: it may be old");
        assert_eq!(
            route(Facts {
                live: true,
                ..at_zero
            }),
            Route::Mirror
        );
        assert_eq!(
            route(Facts {
                live: true,
                passed: false,
                ..at_zero
            }),
            Route::Mirrored
        );
        assert_eq!(
            route(Facts {
                live: true,
                version: Version::Exact,
                ..at_zero
            }),
            Route::Mirrored
        );
    }

    #[test]
    fn forms_that_only_the_cloud_makes_are_never_made_up() {
        let table = Facts {
            cloud_form: true,
            ..LIST
        };
        assert_eq!(route(table), Route::Cloud);
        assert_eq!(
            route(Facts {
                cloud: false,
                ..table
            }),
            Route::Mirror,
            "it accepts plain JSON as well"
        );
        let protobuf = Facts {
            made: false,
            ..LIST
        };
        assert_eq!(route(protobuf), Route::Cloud);
        assert_eq!(
            route(Facts {
                cloud: false,
                ..protobuf
            }),
            Route::NotAcceptable
        );
    }

    #[test]
    fn a_watch_is_a_place_in_the_log_online_and_offline() {
        for cloud in [true, false] {
            assert_eq!(
                route(Facts {
                    verb: Verb::Watch,
                    cloud,
                    ..LIST
                }),
                Route::Watch
            );
        }
    }

    #[test]
    fn writes_and_tunnels_need_the_cloud() {
        for verb in [
            Verb::Create,
            Verb::Update,
            Verb::Patch,
            Verb::Delete,
            Verb::DeleteCollection,
            Verb::Other,
        ] {
            assert_eq!(route(Facts { verb, ..LIST }), Route::Cloud);
            assert_eq!(
                route(Facts {
                    verb,
                    cloud: false,
                    ..LIST
                }),
                Route::Refuse
            );
        }
        assert_eq!(
            route(Facts {
                upgrade: true,
                ..LIST
            }),
            Route::Tunnel
        );
        assert_eq!(
            route(Facts {
                upgrade: true,
                cloud: false,
                ..LIST
            }),
            Route::Refuse
        );
        let other = Facts {
            collection: false,
            ..LIST
        };
        let document = Facts {
            document: true,
            ..other
        };
        assert_eq!(route(document), Route::Document);
        for cloud in [true, false] {
            let token = Facts {
                token: true,
                verb: Verb::Create,
                cloud,
                ..other
            };
            assert_eq!(route(token), Route::Token);
            let write = Facts {
                token: false,
                write: true,
                ..token
            };
            assert_eq!(route(write), Route::Write);
        }
        assert_eq!(route(other), Route::Cloud);
        assert_eq!(
            route(Facts {
                cloud: false,
                ..other
            }),
            Route::Refuse
        );
    }
}
