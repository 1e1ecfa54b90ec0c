//! The items of a list on its way through: those that were guessed, and those that had to be looked at.

use std::rc::Rc;

use crate::k8s::collection::Collection;
use crate::k8s::object::ObjectKey;
use crate::role::agent::list::Copy;
use crate::role::agent::list::UNHELD;
use crate::rule::filter::Chain;
use crate::state::mirror;
use crate::wire::error::Error;
use crate::wire::json::Skip;
use crate::wire::list::ListDecoder;
use crate::wire::list::Rejoin;
use crate::wire::object;

impl Copy {
    /// Takes the next item, if it is the one that was guessed: all that there is to know of it is known.
    pub(super) fn guess(&mut self, decoder: &mut ListDecoder, out: &mut Vec<u8>) -> Skip {
        let Some(guesses) = &mut self.guesses else {
            return Skip::Other;
        };
        let guess = match guesses.guess() {
            Ok(Some(guess)) => guess,
            Ok(None) => return Skip::Other,
            Err(error) => {
                self.guesses = None;
                if matches!(error, mirror::Error::Damaged { .. }) && self.log.is_some() {
                    self.unmirrored(&error);
                }
                return Skip::Other;
            }
        };
        let skip = decoder.pass(guess.item.object);
        if skip != Skip::Whole {
            return skip;
        }
        if !self.raw {
            let key = ObjectKey::parse(guess.item.key);
            self.admitted.item(key.as_ref(), guess.item.object, out);
        }
        let at = guess.at;
        guesses.right();
        self.items += 1;
        // Where somebody else feeds the log, it holds what was guessed from it.
        if let Some(Err(error)) = self.log.as_mut().map(|writer| writer.unchanged(at)) {
            self.unmirrored(&error);
        }
        Skip::Whole
    }

    /// Takes an item.
    pub(super) async fn item(&mut self, item: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let known = match object::key_and_version(item) {
            Ok(known) if self.plain => known,
            Err(error) if self.plain && (self.log.is_some() || self.follower.is_some()) => {
                return Err(error);
            }
            _ => {
                if !self.raw {
                    // A row that does not say whose it is can't be judged.
                    let key = object::shown_key(item);
                    self.admitted.item(key.as_ref(), item, out);
                }
                return Ok(());
            }
        };
        let (key, version) = known;
        if !self.raw {
            self.admitted.item(Some(&key), item, out);
        }
        if let Some(guesses) = &mut self.guesses {
            guesses.after(&key);
        }
        self.items += 1;
        if let Some(writer) = &mut self.log {
            let typed = !object::has_type(item);
            if let Err(error) = writer.item(&key, version, typed, item).await {
                self.unmirrored(&error);
            }
        } else if let Some(follower) = &self.follower
            && self.unheld.len() < UNHELD
            && follower.log().version_of(key.as_str()) != Some(version)
        {
            self.unheld.push((key, version));
        }
        Ok(())
    }
}

/// The list as the client may see it.
pub(super) struct Admitted {
    pub(super) chain: Rc<Chain>,
    pub(super) collection: Collection,
    pub(super) rejoin: Rejoin,
}

impl Admitted {
    pub(super) fn envelope(&self, bytes: &[u8], out: &mut Vec<u8>) {
        self.rejoin.envelope(bytes, !self.chain.is_empty(), out);
    }

    fn item(&mut self, key: Option<&ObjectKey>, item: &[u8], out: &mut Vec<u8>) {
        let admitted = key.is_none_or(|key| self.chain.admits(&self.collection, key, item));
        self.rejoin.item(item, admitted, out);
    }
}
