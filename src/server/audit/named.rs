//! Which objects a request names.

use crate::kmip::message::RequestMessage;
use crate::ttlv::{Item, ItemType, Tag};

/// Identifiers that a line of the audit log has.
const MOST: usize = 16;
/// The longest, in bytes; a longer one is cut.
const LONGEST: usize = 255;

/// The objects of an item of a request, each once.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// The first of them.
    pub uids: Vec<String>,
    /// How many more there are, or were met again.
    pub more: u64,
}

impl Named {
    /// Adds an object.
    pub fn add(&mut self, uid: &str) {
        let uid = shortened(uid);
        if self.uids.iter().any(|known| *known == uid) {
            return;
        }
        match self.uids.len() < MOST {
            true => self.uids.push(uid.into_owned()),
            false => self.more += 1,
        }
    }

    /// Adds the objects of another.
    pub fn join(&mut self, other: Named) {
        other.uids.iter().for_each(|uid| self.add(uid));
        self.more += other.more;
    }

    /// Adds what a payload names.
    pub fn add_payload(&mut self, payload: &Item<'_>) {
        let Ok(mut items) = payload.items() else {
            return;
        };
        while let Ok(Some(item)) = items.next() {
            match item.tag {
                Tag::UNIQUE_IDENTIFIER
                | Tag::PRIVATE_KEY_UNIQUE_IDENTIFIER
                | Tag::PUBLIC_KEY_UNIQUE_IDENTIFIER
                | Tag::CERTIFICATE_REQUEST_UNIQUE_IDENTIFIER
                | Tag::LINKED_OBJECT_IDENTIFIER
                | Tag::REPLACED_UNIQUE_IDENTIFIER => {
                    if let Ok(uid) = item.text() {
                        self.add(uid);
                    }
                }
                _ if item.kind == ItemType::STRUCTURE => self.add_payload(&item),
                _ => {}
            }
        }
    }
}

/// What the items of a request ask, and which objects they name.
pub fn of_request(frame: &[u8]) -> Vec<(Option<String>, Named)> {
    let Ok(message) = RequestMessage::decode(frame) else {
        return vec![(None, Named::default())];
    };
    let items = message.items.iter().map(|item| {
        let mut named = Named::default();
        named.add_payload(&item.payload);
        (Some(item.operation.to_string()), named)
    });
    items.collect()
}

/// An identifier as the log has it.
pub fn shortened(uid: &str) -> std::borrow::Cow<'_, str> {
    match uid.len() > LONGEST {
        false => uid.into(),
        true => format!("{}…", &uid[..uid.floor_char_boundary(LONGEST)]).into(),
    }
}
