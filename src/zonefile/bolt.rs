//! The database file in which CoreDNS keeps a zone that is updated. ndots uses the same form, so an
//! operator can go from one to the other. It is the form of bbolt: pages of a B+ tree, and two
//! pages that say where the tree begins. The one with the higher number counts.
//!
//! The tree has one bucket with two entries, the zone's name and its records. A new version is
//! written to pages that the last one does not use. Then one page is written that makes it count.

use std::ops::Range;

use thiserror::Error;

use crate::hash::{FNV_OFFSET, fnv1a};

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// The size of the pages of a new file.
const NEW_PAGE: usize = 4096;
const PAGE_HEADER: usize = 16;
/// An entry of a page, before the keys and the values.
const ELEMENT: usize = 16;
const META: usize = 64;
const BUCKET_HEADER: usize = 16;
/// Kinds of pages.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META_PAGE: u16 = 4;
/// The flag of an entry whose value is a bucket.
const IS_BUCKET: u32 = 1;
/// In place of the page with the list of free pages: the reader finds them itself.
const NO_FREE_LIST: u64 = u64::MAX;
/// The two pages that say where the tree begins.
const META_PAGES: u64 = 2;
/// How deep a tree may be. With two entries it has one level; a loop has no end.
const DEPTH: usize = 32;

const BUCKET: &[u8] = b"dynupdate-v1";
const ORIGIN: &[u8] = b"origin";
const RECORDS: &[u8] = b"records";

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DatabaseError {
    #[error("the file is not a database, or is damaged")]
    Damaged,
    #[error("the database is not one of `dynupdate`")]
    Other,
}

/// What a database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The name of the zone.
    pub(super) origin: Vec<u8>,
    /// The records in wire form, one after the other.
    pub(super) records: Vec<u8>,
}

/// The part of a file that the current version uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    page: usize,
    /// The number of the version.
    version: u64,
    /// The page where the tree begins.
    root: u64,
    /// Pages of the current version, in any order.
    used: Vec<Range<u64>>,
    /// The first page after all others.
    end: u64,
}

/// Octets to write at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileWrite {
    pub at: u64,
    pub octets: Vec<u8>,
}

/// The pages that every file uses.
fn meta_pages() -> Vec<Range<u64>> {
    std::iter::once(0..META_PAGES).collect()
}

impl Stored {
    /// # Errors
    /// See [`DatabaseError`].
    pub(super) fn read(file: &[u8]) -> Result<(Self, Layout), DatabaseError> {
        let meta = Meta::newest(file).ok_or(DatabaseError::Damaged)?;
        let mut tree = Tree { file, page: meta.page, used: meta_pages() };
        let root = tree.entries(meta.root, DEPTH).ok_or(DatabaseError::Damaged)?;
        let bucket = value(&root, BUCKET)?;
        let entries = tree.bucket(bucket).ok_or(DatabaseError::Damaged)?;
        let origin = value(&entries, ORIGIN)?.to_vec();
        let records = value(&entries, RECORDS)?.to_vec();
        if meta.free_list != NO_FREE_LIST {
            tree.page(meta.free_list).ok_or(DatabaseError::Damaged)?;
        }
        let Meta { page, version, root, end, .. } = meta;
        Ok((Self { origin, records }, Layout { page, version, root, used: tree.used, end }))
    }

    /// The octets of a new file.
    pub(super) fn create(&self) -> (Vec<u8>, Layout) {
        let empty = Layout {
            page: NEW_PAGE,
            version: 0,
            root: META_PAGES,
            used: meta_pages(),
            end: META_PAGES,
        };
        let (writes, layout) = self.replace(&empty);
        let mut file = vec![0; layout.end as usize * NEW_PAGE];
        // The other page counts until the first change.
        let first = empty.meta_page(&Meta { version: 0, ..Meta::of(&layout) });
        for FileWrite { at, octets } in writes.into_iter().chain([first]) {
            file[at as usize..][..octets.len()].copy_from_slice(&octets);
        }
        (file, layout)
    }

    /// The writes that make this the current version. Each must be on the disk before the next
    /// one.
    pub(super) fn replace(&self, last: &Layout) -> (Vec<FileWrite>, Layout) {
        let page = last.page;
        let entries = [(ORIGIN, &*self.origin), (RECORDS, &*self.records)];
        let octets = entries.iter().map(|(key, value)| ELEMENT + key.len() + value.len());
        let pages = (PAGE_HEADER + octets.sum::<usize>()).div_ceil(page) as u64;
        // The bucket follows the root.
        let root = last.room(1 + pages);
        let (bucket, after) = (root + 1, root + 1 + pages);
        let value = [bucket.to_le_bytes(), [0; 8]].concat();
        let mut data = leaf(root, page, &[(IS_BUCKET, BUCKET, &value)]);
        data.extend(leaf(bucket, page, &entries.map(|(key, value)| (0, key, value))));
        let used = vec![0..META_PAGES, root..bucket, bucket..after];
        let (version, end) = (last.version + 1, last.end.max(after));
        let layout = Layout { page, version, root, used, end };
        let writes = vec![
            FileWrite { at: root * page as u64, octets: data },
            layout.meta_page(&Meta::of(&layout)),
        ];
        (writes, layout)
    }
}

impl Layout {
    /// The first of so many pages that the current version does not use.
    fn room(&self, pages: u64) -> u64 {
        let mut used = self.used.clone();
        used.sort_unstable_by_key(|range| range.start);
        let mut free = META_PAGES;
        for range in used {
            if range.start >= free + pages {
                break;
            }
            free = free.max(range.end);
        }
        free
    }

    fn meta_page(&self, meta: &Meta) -> FileWrite {
        let number = meta.version % META_PAGES;
        let mut octets = page_header(number, META_PAGE, 0, 0);
        octets.extend(meta.octets());
        octets.resize(self.page, 0);
        FileWrite { at: number * self.page as u64, octets }
    }
}

/// A page that says where the tree begins.
#[derive(Clone, Copy)]
struct Meta {
    page: usize,
    root: u64,
    free_list: u64,
    end: u64,
    version: u64,
}

impl Meta {
    /// For a version that [`Stored::replace`] has written.
    fn of(layout: &Layout) -> Self {
        let Layout { page, version, root, end, .. } = *layout;
        Self { page, root, free_list: NO_FREE_LIST, end, version }
    }

    /// The valid one with the highest number.
    fn newest(file: &[u8]) -> Option<Self> {
        let first = Self::read(file);
        // If the first page is damaged, the size of the pages is not known.
        let sizes = first.map_or(1024..=1 << 16, |meta| meta.page..=meta.page);
        let is_size = |size: &usize| size.is_power_of_two();
        let second = sizes.filter(is_size).find_map(|size| Self::read(file.get(size..)?));
        first.into_iter().chain(second).max_by_key(|meta| meta.version)
    }

    fn read(page: &[u8]) -> Option<Self> {
        let octets = page.get(PAGE_HEADER..)?.first_chunk::<META>()?;
        let (covered, sum) = octets.split_at(META - 8);
        let valid = number(octets, 0)? == MAGIC
            && number(octets, 4)? == VERSION
            && long(sum, 0)? == fnv1a(FNV_OFFSET, covered);
        let meta = Self {
            page: number(octets, 8)? as usize,
            root: long(octets, 16)?,
            free_list: long(octets, 32)?,
            end: long(octets, 40)?,
            version: long(octets, 48)?,
        };
        (valid && meta.page >= PAGE_HEADER + META).then_some(meta)
    }

    fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(META);
        for word in [MAGIC, VERSION, self.page as u32, 0] {
            octets.extend(word.to_le_bytes());
        }
        for long in [self.root, 0, self.free_list, self.end, self.version] {
            octets.extend(long.to_le_bytes());
        }
        let sum = fnv1a(FNV_OFFSET, &octets);
        octets.extend(sum.to_le_bytes());
        octets
    }
}

/// Reads pages, and notes which it has read.
struct Tree<'f> {
    file: &'f [u8],
    page: usize,
    used: Vec<Range<u64>>,
}

impl<'f> Tree<'f> {
    /// The page with this number, and the pages that continue it. Each is read once.
    fn page(&mut self, id: u64) -> Option<&'f [u8]> {
        let start = usize::try_from(id).ok()?.checked_mul(self.page)?;
        let page = self.file.get(start..)?;
        let more = u64::from(number(page, 12)?);
        let length = usize::try_from(more + 1).ok()?.checked_mul(self.page)?;
        if self.used.iter().any(|used| used.contains(&id)) {
            return None;
        }
        self.used.push(id..id.checked_add(more + 1)?);
        page.get(..length)
    }

    /// The entries of the tree that begins at this page.
    fn entries(&mut self, root: u64, depth: usize) -> Option<Vec<Item<'f>>> {
        let page = self.page(root)?;
        match (kind(page)?, depth) {
            (LEAF, _) => items(page),
            (BRANCH, 1..) => {
                let mut all = Vec::new();
                for element in elements(page)? {
                    all.extend(self.entries(long(element, 8)?, depth - 1)?);
                }
                Some(all)
            }
            _ => None,
        }
    }

    /// The entries of a bucket. A small one stands in its value, and another one in pages of its
    /// own.
    fn bucket(&mut self, value: &'f [u8]) -> Option<Vec<Item<'f>>> {
        match long(value, 0)? {
            0 => items(value.get(BUCKET_HEADER..)?),
            root => self.entries(root, DEPTH),
        }
    }
}

/// A key with its value.
type Item<'f> = (&'f [u8], &'f [u8]);

fn value<'f>(items: &[Item<'f>], wanted: &[u8]) -> Result<&'f [u8], DatabaseError> {
    let found = items.iter().find(|(key, _)| *key == wanted);
    found.map(|(_, value)| *value).ok_or(DatabaseError::Other)
}

/// The entries of a page.
fn items(page: &[u8]) -> Option<Vec<Item<'_>>> {
    elements(page)?
        .map(|element| {
            let words = [number(element, 4)?, number(element, 8)?, number(element, 12)?];
            let [at, key, value] = words.map(|it| it as usize);
            let (key, rest) = element.get(at..)?.split_at_checked(key)?;
            Some((key, rest.get(..value)?))
        })
        .collect()
}

fn kind(page: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(*page.get(8..)?.first_chunk()?))
}

/// The rest of the page from each of its entries on.
fn elements(page: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let count = u16::from_le_bytes(*page.get(10..)?.first_chunk()?);
    let element = |at: u16| page.get(PAGE_HEADER + usize::from(at) * ELEMENT..);
    element(count)?;
    Some((0..count).filter_map(element))
}

fn number(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}

fn long(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*octets.get(at..)?.first_chunk()?))
}

fn page_header(number: u64, kind: u16, elements: u16, more_pages: u32) -> Vec<u8> {
    let mut header = number.to_le_bytes().to_vec();
    header.extend(kind.to_le_bytes());
    header.extend(elements.to_le_bytes());
    header.extend(more_pages.to_le_bytes());
    header
}

/// A page with entries in the order of their keys, and the pages that continue it.
fn leaf(id: u64, page: usize, entries: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (at, (flags, key, value)) in entries.iter().enumerate() {
        let offset = (entries.len() - at) * ELEMENT + data.len();
        for word in [*flags, offset as u32, key.len() as u32, value.len() as u32] {
            elements.extend(word.to_le_bytes());
        }
        data.extend([*key, *value].concat());
    }
    let octets = PAGE_HEADER + elements.len() + data.len();
    let pages = octets.div_ceil(page);
    let mut leaf = page_header(id, LEAF, entries.len() as u16, pages as u32 - 1);
    leaf.extend(elements);
    leaf.extend(data);
    leaf.resize(pages * page, 0);
    leaf
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(octets: usize, fill: u8) -> Stored {
        Stored { origin: b"example.org.".to_vec(), records: vec![fill; octets] }
    }

    fn write(file: &mut Vec<u8>, writes: &[FileWrite]) {
        for FileWrite { at, octets } in writes {
            let (at, end) = (*at as usize, *at as usize + octets.len());
            file.resize(file.len().max(end), 0);
            file[at..end].copy_from_slice(octets);
        }
    }

    #[test]
    fn versions_follow_each_other_and_an_interrupted_one_does_not_count() {
        let first = stored(100, 0);
        let (mut file, mut layout) = first.create();
        assert_eq!(Stored::read(&file), Ok((first, layout.clone())));
        let mut longest = 0;
        for (fill, octets) in (1..).zip([100, 9_000, 50, 50_000, 50_000, 50_000, 1, 20_000]) {
            let (next, before) = (stored(octets, fill), Stored::read(&file).unwrap());
            let (writes, after) = next.replace(&layout);
            // Without its last part the old version counts.
            write(&mut file, &writes[..1]);
            assert_eq!(Stored::read(&file).unwrap(), before);
            let mut torn = file.clone();
            write(&mut torn, &[FileWrite { octets: vec![0; 40], ..writes[1].clone() }]);
            assert_eq!(Stored::read(&torn).unwrap().0, before.0);
            write(&mut file, &writes[1..]);
            layout = after;
            assert_eq!(Stored::read(&file), Ok((next, layout.clone())));
            longest = longest.max(octets);
        }
        // Pages of old versions are used again.
        assert!(file.len() < 3 * longest, "{} octets", file.len());
    }

    #[test]
    fn no_file_makes_the_reader_fail() {
        let (file, _) = stored(6_000, 7).create();
        assert_eq!(Stored::read(&[]), Err(DatabaseError::Damaged));
        for length in (0..file.len()).step_by(97) {
            let _ = Stored::read(&file[..length]);
        }
        // Damage in the tree, with valid first pages.
        for at in (2 * NEW_PAGE..2 * NEW_PAGE + 120).chain(3 * NEW_PAGE..3 * NEW_PAGE + 120) {
            for octet in [0, 1, 0x7f, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = octet;
                let _ = Stored::read(&damaged);
            }
        }
        let mut damaged = file.clone();
        damaged[PAGE_HEADER + 20] ^= 1;
        damaged[NEW_PAGE + PAGE_HEADER + 20] ^= 1;
        assert_eq!(Stored::read(&damaged), Err(DatabaseError::Damaged));
        let mut other = file;
        other[2 * NEW_PAGE + PAGE_HEADER + ELEMENT] = b'D';
        assert_eq!(Stored::read(&other), Err(DatabaseError::Other));
    }
}
