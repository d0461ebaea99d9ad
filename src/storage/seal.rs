//! How rows are encrypted, authenticated and bound to their place.
//!
//! Every key is derived from one 32-byte key (HKDF-SHA-256). A row is sealed with AES-256-GCM under its identifier's keyed hash.
//! Its version is the end of its authentication tag, so no two contents share one. The list of a bucket names the version of
//! each row of the bucket: a row that was removed, replaced by an older one or restored after its removal contradicts its list.

use super::engine::{BUCKETS, Header, Id, Tag};
use crate::ck::CKR_DEVICE_ERROR;
use crate::crypto::seal::Sealer;
use crate::crypto::{Hash, kdf, mac, rng};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Length of an entry of a list, in bytes: the beginning of the identifier's hash, and the row's version.
const ENTRY: usize = 16;
/// Length of the key of public objects, in bytes.
const PUBLIC_KEY: usize = 32;

/// The buckets that have a list: one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used([u8; BUCKETS as usize / 8]);

impl Default for Used {
    fn default() -> Used {
        Used([0; BUCKETS as usize / 8])
    }
}

impl Used {
    /// Whether a bucket has a list.
    pub fn contains(&self, bucket: u16) -> bool {
        self.0[usize::from(bucket / 8)] >> (bucket % 8) & 1 == 1
    }

    /// Adds a bucket.
    pub fn insert(&mut self, bucket: u16) {
        self.0[usize::from(bucket / 8)] |= 1 << (bucket % 8);
    }
}

/// What a row holds.
pub struct Content {
    /// Identifier of the object.
    pub uid: String,
    /// The tag under which the object is counted.
    pub counted: Option<Tag>,
    /// The tags of the row.
    pub tags: Vec<Tag>,
    /// What is stored about the object.
    pub about: Vec<u8>,
    /// Its value.
    pub value: Secret,
}

/// The keys of a database.
pub struct Keys {
    rows: Sealer,
    lists: Sealer,
    header: Sealer,
    ids: Secret,
    tags: Secret,
    public: Option<PublicKeys>,
}

/// The keys of public objects, which need no PIN.
pub struct PublicKeys {
    rows: Sealer,
    added: Sealer,
    tags: Secret,
}

fn derive(key: &[u8], purpose: &str) -> Result<Secret> {
    let info = format!("mrhsm storage: {purpose}");
    kdf::hkdf(Hash::Sha256, &[], key, info.as_bytes(), 32)
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::File, CKR_DEVICE_ERROR, what)
}

fn keyed_hash<const N: usize>(key: &Secret, parts: &[&[u8]]) -> Result<[u8; N]> {
    let mut mac = mac::Mac::hmac(Hash::Sha256, key.expose())?;
    for part in parts {
        mac.update(part)?;
    }
    Ok(std::array::from_fn({
        let code = mac.finish()?;
        move |at| code[at]
    }))
}

impl PublicKeys {
    /// The keys that a header's public part gives.
    pub fn of(key: &[u8]) -> Result<PublicKeys> {
        Ok(PublicKeys {
            rows: Sealer::new(derive(key, "public rows")?.expose())?,
            added: Sealer::new(derive(key, "added objects")?.expose())?,
            tags: derive(key, "public tags")?,
        })
    }

    /// The tag that every public object has.
    pub fn tag(&self) -> Result<Tag> {
        Ok(Tag::from_be_bytes(keyed_hash(&self.tags, &[b"public"])?))
    }

    /// Seals objects that were added without the token's key.
    pub fn seal_added(&self, contents: &[Content]) -> Result<Vec<u8>> {
        let mut plain = Secret::default();
        for content in contents {
            let content = written(content)?;
            plain.extend(&length_of(content.expose())?)?;
            plain.extend(content.expose())?;
        }
        self.added.seal(b"added objects", plain.expose())
    }

    /// Opens them.
    pub fn open_added(&self, sealed: &[u8]) -> Result<Vec<Content>> {
        let plain = self.added.open(b"added objects", sealed)?;
        let (mut rest, mut contents) = (plain.expose(), Vec::new());
        while !rest.is_empty() {
            let content = part(&mut rest).and_then(parse_content);
            contents.push(content.ok_or_else(|| damaged("the added objects are malformed"))?);
        }
        Ok(contents)
    }

    /// Opens a row; `None` if it is not one of a public object.
    pub fn open_row(&self, id: &Id, sealed: &[u8]) -> Result<Option<Content>> {
        match sealed.split_first() {
            Some((1, rest)) => open_content(&self.rows, id, 1, rest).map(Some),
            _ => Ok(None),
        }
    }
}

impl Keys {
    /// Derives the keys from a 32-byte key.
    pub fn new(key: &[u8]) -> Result<Keys> {
        Ok(Keys {
            rows: Sealer::new(derive(key, "rows")?.expose())?,
            lists: Sealer::new(derive(key, "lists")?.expose())?,
            header: Sealer::new(derive(key, "header")?.expose())?,
            ids: derive(key, "identifiers")?,
            tags: derive(key, "tags")?,
            public: None,
        })
    }

    /// The header of a new database.
    pub fn new_header(&mut self) -> Result<Header> {
        let public = rng::bytes(PUBLIC_KEY)?;
        self.public = Some(PublicKeys::of(public.expose())?);
        Ok(Header {
            sealed: self.seal_header(public.expose(), &Used::default())?,
            public: public.expose().to_vec(),
        })
    }

    /// Opens the header. Returns the buckets that have a list.
    pub fn open_header(&self, header: &Header) -> Result<Used> {
        let content = self
            .header
            .open(b"mrhsm storage 1", &header.sealed)
            .map_err(|e| e.context("it does not open with this token's key"))?;
        match content.expose().split_at_checked(PUBLIC_KEY) {
            Some((public, used)) if public == header.public => {
                let used = used.try_into();
                used.map(Used)
                    .map_err(|_| damaged("its header is malformed"))
            }
            _ => Err(damaged("its header was changed")),
        }
    }

    /// Takes over the key of public objects.
    pub fn take_public(&mut self, header: &Header) -> Result<()> {
        self.public = Some(PublicKeys::of(&header.public)?);
        Ok(())
    }

    /// A header that names the buckets which have a list.
    pub fn seal_header(&self, public: &[u8], used: &Used) -> Result<Vec<u8>> {
        let content = [public, &used.0].concat();
        self.header.seal(b"mrhsm storage 1", &content)
    }

    /// The keys of public objects.
    pub fn public(&self) -> Result<&PublicKeys> {
        self.public
            .as_ref()
            .ok_or_else(|| damaged("its header was not read"))
    }

    /// The keyed hash of an identifier.
    pub fn id(&self, uid: &str) -> Result<Id> {
        keyed_hash(&self.ids, &[uid.as_bytes()])
    }

    /// The tag of a value of a field. Fields have different numbers.
    pub fn tag(&self, field: u8, value: &[u8]) -> Result<Tag> {
        Ok(Tag::from_be_bytes(keyed_hash(
            &self.tags,
            &[&[field], value],
        )?))
    }

    /// The tag that every public object has.
    pub fn public_tag(&self) -> Result<Tag> {
        self.public()?.tag()
    }

    /// Seals a row.
    pub fn seal_row(&self, id: &Id, content: &Content, is_public: bool) -> Result<Vec<u8>> {
        let plain = written(content)?;
        let kind = u8::from(is_public);
        let sealer = match is_public {
            true => &self.public()?.rows,
            false => &self.rows,
        };
        let mut sealed = vec![kind];
        sealed.extend_from_slice(&sealer.seal(&place_of_row(id, kind), plain.expose())?);
        Ok(sealed)
    }

    /// Opens a row.
    pub fn open_row(&self, id: &Id, sealed: &[u8]) -> Result<Content> {
        match sealed.split_first() {
            Some((0, rest)) => open_content(&self.rows, id, 0, rest),
            Some((1, rest)) => open_content(&self.public()?.rows, id, 1, rest),
            _ => Err(damaged("a row is malformed")),
        }
    }

    /// Seals the list of a bucket.
    pub fn seal_list(&self, bucket: u16, list: &List) -> Result<Vec<u8>> {
        self.lists.seal(&place_of_list(bucket), &list.0)
    }

    /// Opens the list of a bucket.
    pub fn open_list(&self, bucket: u16, sealed: &[u8]) -> Result<List> {
        let content = self.lists.open(&place_of_list(bucket), sealed)?;
        match content.len().is_multiple_of(ENTRY) {
            true => Ok(List(content.expose().to_vec())),
            false => Err(damaged("a list is malformed")),
        }
    }
}

fn place_of_row(id: &Id, kind: u8) -> [u8; 20] {
    let mut place = *b"row\0................";
    place[3] = kind;
    place[4..].copy_from_slice(id);
    place
}

fn place_of_list(bucket: u16) -> [u8; 6] {
    let [high, low] = bucket.to_be_bytes();
    [b'l', b'i', b's', b't', high, low]
}

fn open_content(sealer: &Sealer, id: &Id, kind: u8, sealed: &[u8]) -> Result<Content> {
    let plain = sealer.open(&place_of_row(id, kind), sealed)?;
    parse_content(plain.expose()).ok_or_else(|| damaged("a row is malformed"))
}

fn written(content: &Content) -> Result<Secret> {
    let (about, value) = (content.about.as_slice(), content.value.expose());
    let length = 32 + content.uid.len() + 8 * content.tags.len() + about.len() + value.len();
    let mut plain = Secret::new(Vec::with_capacity(length));
    for part in [content.uid.as_bytes(), about, value] {
        plain.extend(&length_of(part)?)?;
        plain.extend(part)?;
    }
    plain.extend(&[u8::from(content.counted.is_some())])?;
    for tag in content.counted.iter().chain(&content.tags) {
        plain.extend(&tag.to_be_bytes())?;
    }
    Ok(plain)
}

fn length_of(part: &[u8]) -> Result<[u8; 4]> {
    let length = u32::try_from(part.len()).map_err(|_| damaged("an object is too large"))?;
    Ok(length.to_be_bytes())
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (part, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = tail;
    Some(part)
}

fn parse_content(mut rest: &[u8]) -> Option<Content> {
    let uid = std::str::from_utf8(part(&mut rest)?).ok()?.to_owned();
    let about = part(&mut rest)?.to_vec();
    let value = Secret::new(part(&mut rest)?.to_vec());
    let (is_counted, tags) = rest.split_first()?;
    let (tags, []) = tags.as_chunks::<8>() else {
        return None;
    };
    let mut tags = tags.iter().map(|tag| Tag::from_be_bytes(*tag));
    let counted = match is_counted {
        0 => None,
        _ => Some(tags.next()?),
    };
    Some(Content {
        uid,
        counted,
        tags: tags.collect(),
        about,
        value,
    })
}

/// The end of a sealed row's authentication tag: no other content of any row has the same.
pub fn version_of(sealed: &[u8]) -> [u8; 8] {
    sealed.last_chunk().copied().unwrap_or_default()
}

/// The rows of a bucket, with their versions: sorted entries.
#[derive(Clone, Default)]
pub struct List(Vec<u8>);

impl List {
    fn entries(&self) -> &[[u8; ENTRY]] {
        self.0.as_chunks().0
    }

    fn search(&self, id: &Id) -> Result<usize, usize> {
        self.entries()
            .binary_search_by(|entry| entry[..8].cmp(&id[..8]))
    }

    /// The version of a row; `None` if there is no such row.
    pub fn version(&self, id: &Id) -> Option<[u8; 8]> {
        let at = self.search(id).ok()?;
        self.entries()[at].last_chunk().copied()
    }

    /// Sets the version of a row; `None` removes the row.
    pub fn set(&mut self, id: &Id, version: Option<[u8; 8]>) {
        let found = self.search(id);
        let at = ENTRY * found.unwrap_or_else(|at| at);
        let entry = version.map(|version| [&id[..8], &version[..]].concat());
        let end = at + if found.is_ok() { ENTRY } else { 0 };
        self.0.splice(at..end, entry.unwrap_or_default());
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.entries().len()
    }
}

/// A random UUID (RFC 9562, version 4).
pub fn new_uuid() -> Result<String> {
    let mut b = [0; 16];
    rng::fill(&mut b)?;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = data_encoding::HEXLOWER.encode(&b);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_each_row_once() {
        let mut list = List::default();
        let ids: Vec<Id> = [5u8, 1, 9, 3].map(|n| [n; 16]).into();
        for id in &ids {
            list.set(id, Some([id[0]; 8]));
        }
        list.set(&ids[0], Some([7; 8]));
        list.set(&ids[1], None);
        list.set(&[77; 16], None);
        assert_eq!(list.count(), 3);
        assert_eq!(
            [&ids[0], &ids[1], &ids[2], &ids[3]].map(|id| list.version(id)),
            [Some([7; 8]), None, Some([9; 8]), Some([3; 8])]
        );
    }

    #[test]
    fn a_row_opens_in_its_place_only() {
        let mut keys = Keys::new(&[7; 32]).unwrap();
        let header = keys.new_header().unwrap();
        assert_eq!(keys.open_header(&header).unwrap(), Used::default());
        let mut used = Used::default();
        for bucket in [0, 9, 4095] {
            used.insert(bucket);
        }
        assert_eq!(
            [0, 1, 9, 4095].map(|bucket| used.contains(bucket)),
            [true, false, true, true]
        );
        let sealed = keys.seal_header(&header.public, &used).unwrap();
        let used_now = keys.open_header(&Header { sealed, ..header }).unwrap();
        assert_eq!(used_now, used);
        let content = Content {
            uid: "uid".into(),
            counted: Some(5),
            tags: vec![-1, i64::MAX],
            about: b"about".to_vec(),
            value: Secret::new(b"value".to_vec()),
        };
        for is_public in [false, true] {
            let sealed = keys.seal_row(&[1; 16], &content, is_public).unwrap();
            let open = keys.open_row(&[1; 16], &sealed).unwrap();
            assert_eq!((open.uid, open.counted), ("uid".into(), Some(5)));
            assert_eq!(
                (open.tags, open.value),
                (vec![-1, i64::MAX], content.value.duplicate())
            );
            assert!(keys.open_row(&[2; 16], &sealed).is_err());
            let mut other_kind = sealed.clone();
            other_kind[0] ^= 1;
            assert!(keys.open_row(&[1; 16], &other_kind).is_err());
            let without_pin = keys.public().unwrap().open_row(&[1; 16], &sealed).unwrap();
            assert_eq!(without_pin.is_some(), is_public);
        }
    }
}
