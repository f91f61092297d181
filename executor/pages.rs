//! Pages: a table whose entries stay where they are, and whose memory goes back.
//!
//! Tasks, timers and much else are found by an index that somebody holds, so
//! they cannot be moved; and a vector of them, once a million long, stays so for
//! as long as the last of them is there. So only the first thousand places are a
//! [`Slab`]; beyond, the table is cut into pages of 64 places. An empty page goes
//! back to the allocator, whatever is left in the others. (Bonwick, *The slab
//! allocator*, USENIX 1994, does the same for the objects of a kernel.) So that a
//! million pages that have gone leave nothing either, the pages stand on shelves of
//! 256, and an empty shelf goes back as well.
//!
//! It does not know what it holds, and calls nothing foreign.
//!
//! # Invariants
//!
//! - **First.** Beyond the slab is only what came when that was full.
//! - **Vacant.** The vacant places of the pages are in one list, through the places
//!   themselves, the one that was left last in front. So to come and to go is a few
//!   instructions, and pages are not counted.
//! - **Swept in time.** When fewer than `few` are left in them, the pages are looked
//!   through, and the empty ones go. That is once for so many entries that have
//!   left that it costs each of them a constant, and so seldom that a crowd that
//!   comes and goes is not allocated anew each time: not before seven of eight
//!   places are vacant, and again only when half of what was left then is gone.

use slab::Slab;
use std::array;
use std::mem::replace;
use std::ops::{Index, IndexMut};

/// How many places are a slab, which grows as a vector does, and stays.
const FIRST: usize = 1024;
/// How many places a page has.
const PAGE: usize = 64;
/// How many pages a shelf has.
const SHELF: usize = 256;
/// No place: an index that is never reached.
const NONE: u32 = u32::MAX;

/// A table of `T`s, each found by the index that it was given when it came.
pub(crate) struct Pages<T> {
    first: Slab<T>,
    /// Most tables never have so many, and are small without.
    beyond: Option<Box<Beyond<T>>>,
    /// How often a place was looked at.
    #[cfg(test)]
    pub(crate) looks: std::cell::Cell<u64>,
}

/// What does not fit into `first`.
struct Beyond<T> {
    /// Those that have gone back are none.
    shelves: Vec<Option<Box<Shelf<T>>>>,
    /// How many pages are here.
    pages: usize,
    /// Before the page of this number there is none that has gone back.
    filled: usize,
    /// The first vacant place (Vacant).
    vacant: u32,
    /// How many are here.
    len: u32,
    /// With fewer than this here it is time to sweep (Swept in time).
    few: u32,
}

type Shelf<T> = [Option<Box<Page<T>>>; SHELF];
type Page<T> = [Place<T>; PAGE];

enum Place<T> {
    /// And the next vacant one.
    Vacant(u32),
    Taken(T),
}

impl<T> Place<T> {
    #[inline]
    fn taken(&self) -> Option<&T> {
        match self {
            Place::Vacant(_) => None,
            Place::Taken(here) => Some(here),
        }
    }
}

impl<T> Default for Pages<T> {
    fn default() -> Pages<T> {
        Pages {
            first: Slab::new(),
            beyond: None,
            #[cfg(test)]
            looks: std::cell::Cell::default(),
        }
    }
}

impl<T> Default for Beyond<T> {
    fn default() -> Beyond<T> {
        Beyond { shelves: Vec::new(), pages: 0, filled: 0, vacant: NONE, len: 0, few: 0 }
    }
}

// ---- Coming and going --------------------------------------------------------

impl<T> Pages<T> {
    /// The index that the next one will have.
    #[inline]
    pub(crate) fn vacant(&mut self) -> u32 {
        match self.first.len() < FIRST {
            true => self.first.vacant_key() as u32,
            false => self.vacant_beyond(),
        }
    }

    #[inline(never)]
    fn vacant_beyond(&mut self) -> u32 {
        self.beyond.get_or_insert_default().vacant()
    }

    #[inline]
    pub(crate) fn insert(&mut self, new: T) -> u32 {
        match self.first.len() < FIRST {
            true => self.first.insert(new) as u32,
            false => self.insert_beyond(new),
        }
    }

    #[inline(never)]
    fn insert_beyond(&mut self, new: T) -> u32 {
        self.beyond.get_or_insert_default().insert(new)
    }

    /// Takes it out, if it is there.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        match self.first.try_remove(index as usize) {
            None => self.remove_beyond(index),
            gone => gone,
        }
    }

    #[inline(never)]
    fn remove_beyond(&mut self, index: u32) -> Option<T> {
        let beyond = self.beyond.as_mut()?;
        let gone = beyond.remove(index)?;
        if beyond.len < beyond.few {
            self.sweep();
        }
        Some(gone)
    }

    #[cold]
    #[inline(never)]
    fn sweep(&mut self) {
        #[cfg(test)]
        self.looks.set(self.looks.get() + self.places() as u64);
        self.beyond.take_if(|beyond| !beyond.sweep());
    }

    /// How many are here.
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.beyond.as_ref().map_or(0, |beyond| beyond.len as usize)
    }

    /// How many places there are, taken or not.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.first.capacity() + self.beyond.as_ref().map_or(0, |beyond| beyond.places())
    }
}

impl<T> Beyond<T> {
    #[inline]
    fn vacant(&mut self) -> u32 {
        if self.vacant == NONE {
            self.add_page();
        }
        self.vacant
    }

    #[inline]
    fn insert(&mut self, new: T) -> u32 {
        let index = self.vacant();
        let Some(place) = self.place_mut(index) else { not_here() };
        let Place::Vacant(next) = *place else { not_here() };
        *place = Place::Taken(new);
        self.vacant = next;
        self.len += 1;
        index
    }

    #[inline]
    fn remove(&mut self, index: u32) -> Option<T> {
        let vacant = self.vacant;
        let place = self.place_mut(index)?;
        place.taken()?;
        let Place::Taken(gone) = replace(place, Place::Vacant(vacant)) else { not_here() };
        self.vacant = index;
        self.len -= 1;
        Some(gone)
    }

    /// Makes a page, where there was one before if there was.
    #[inline(never)]
    fn add_page(&mut self) {
        while self.page(self.filled).is_some() {
            self.filled += 1;
        }
        let number = self.filled;
        let first = FIRST + number * PAGE;
        assert!(first < NONE as usize - PAGE, "a table is full");
        let next = |place| if place + 1 == PAGE { NONE } else { (first + place + 1) as u32 };
        let page = Box::new(array::from_fn(|place| Place::Vacant(next(place))));
        if number / SHELF == self.shelves.len() {
            self.shelves.push(None);
        }
        let shelf = &mut self.shelves[number / SHELF];
        let shelf = shelf.get_or_insert_with(|| Box::new([const { None }; SHELF]));
        shelf[number % SHELF] = Some(page);
        self.pages += 1;
        self.vacant = first as u32;
        self.few = self.most_few();
    }

    fn places(&self) -> usize {
        self.pages * PAGE
    }

    /// An eighth; but of one page none, so that it is not made and given back by
    /// those who come and go at the edge.
    fn most_few(&self) -> u32 {
        (self.places() as u32 - PAGE as u32) / 8
    }

    /// Gives the empty pages back. Answers whether there are others.
    fn sweep(&mut self) -> bool {
        // From the back, so that those in front are taken first.
        (self.vacant, self.pages, self.filled) = (NONE, 0, 0);
        for (nth, shelf) in self.shelves.iter_mut().enumerate().rev() {
            let first = FIRST + nth * SHELF * PAGE;
            let left = shelf.as_mut().map_or(0, |shelf| sweep(shelf, first, &mut self.vacant));
            if left == 0 {
                *shelf = None;
            }
            self.pages += left;
        }
        let end = self.shelves.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.shelves.truncate(end);
        if end > 0 {
            self.few = self.most_few().min(self.len / 2).max(1);
        }
        end > 0
    }
}

/// Gives the empty pages of this shelf back, and puts the vacant places of the others
/// before the list of all. The index of the first of them all is `first`. Answers how
/// many pages are left.
fn sweep<T>(shelf: &mut Shelf<T>, first: usize, vacant: &mut u32) -> usize {
    let is_empty = |page: &Page<T>| page.iter().all(|place| place.taken().is_none());
    let mut left = 0;
    for (nth, page) in shelf.iter_mut().enumerate().rev() {
        page.take_if(|page| is_empty(page));
        if let Some(page) = page {
            link(&mut page[..], first + nth * PAGE, vacant);
            left += 1;
        }
    }
    left
}

/// Puts the vacant ones of these places, of which the first has this index, before
/// the list of all.
fn link<T>(places: &mut [Place<T>], first: usize, vacant: &mut u32) {
    for (nth, place) in places.iter_mut().enumerate().rev() {
        if let Place::Vacant(next) = place {
            *next = replace(vacant, (first + nth) as u32);
        }
    }
}

// ---- Looking -------------------------------------------------------------------

impl<T> Pages<T> {
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        match self.first.get(index as usize) {
            None => self.beyond.as_ref()?.place(index)?.taken(),
            here => here,
        }
    }

    /// The same, with less code where it is called: for those who mostly look at the
    /// first thousand.
    #[inline]
    pub(crate) fn find(&self, index: u32) -> Option<&T> {
        match self.first.get(index as usize) {
            None => self.get_beyond(index),
            here => here,
        }
    }

    #[inline(never)]
    fn get_beyond(&self, index: u32) -> Option<&T> {
        self.beyond.as_ref()?.place(index)?.taken()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        match self.first.get_mut(index as usize) {
            None => match self.beyond.as_mut()?.place_mut(index)? {
                Place::Vacant(_) => None,
                Place::Taken(here) => Some(here),
            },
            here => here,
        }
    }

    /// All that are here.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        let shelves = self.beyond.iter().flat_map(|beyond| beyond.shelves.iter().flatten());
        let pages = shelves.flat_map(|shelf| shelf.iter().flatten());
        let beyond = pages.flat_map(|page| page.iter());
        self.first.iter().map(|(_, here)| here).chain(beyond.filter_map(Place::taken))
    }
}

impl<T> Beyond<T> {
    #[inline]
    fn page(&self, number: usize) -> Option<&Page<T>> {
        self.shelves.get(number / SHELF)?.as_ref()?[number % SHELF].as_deref()
    }

    /// None if there is no page, or none for such an index.
    #[inline]
    fn place(&self, index: u32) -> Option<&Place<T>> {
        let index = (index as usize).wrapping_sub(FIRST);
        Some(&self.page(index / PAGE)?[index % PAGE])
    }

    #[inline]
    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        let index = (index as usize).wrapping_sub(FIRST);
        let number = index / PAGE;
        let shelf = self.shelves.get_mut(number / SHELF)?.as_mut()?;
        Some(&mut shelf[number % SHELF].as_mut()?[index % PAGE])
    }
}

/// Of what is known to be there.
impl<T> Index<u32> for Pages<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        self.get(index).unwrap_or_else(|| not_here())
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).unwrap_or_else(|| not_here())
    }
}

#[cold]
#[inline(never)]
fn not_here() -> ! {
    unreachable!("an index is of something that is here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    // promise 7.7
    #[test]
    fn an_entry_is_found_until_it_is_removed_whatever_happens_to_others() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64; // xorshift, Marsaglia 2003
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let (mut pages, mut map) = (Pages::default(), BTreeMap::new());
        // Tides, so that pages come and go.
        for step in 0..60_000_u64 {
            let rises = step / 6_000 % 2 == 0;
            if next(8) < if rises { 7 } else { 1 } {
                let index = pages.insert(step);
                assert_eq!(map.insert(index, step), None, "nothing was there");
            } else if let Some((&index, &value)) = map.range(next(6_000) as u32..).next() {
                assert_eq!(pages.remove(index), Some(value));
                assert_eq!((pages.remove(index), pages.get(index)), (None, None));
                map.remove(&index);
            }
            assert_eq!(pages.len(), map.len());
        }
        assert!(map.iter().all(|(&index, value)| pages[index] == *value));
        assert_eq!(
            pages.iter().copied().collect::<Vec<_>>(),
            map.into_values().collect::<Vec<_>>()
        );
    }

    // promise 7.7
    #[test]
    fn a_crowd_gives_its_pages_back_also_beside_one_that_stays() {
        for stays in [None, Some(0), Some(50_000), Some(99_999)] {
            let mut pages = Pages::default();
            let crowd: Vec<u32> = (0..100_000).map(|number| pages.insert(number)).collect();
            assert!(pages.places() < 100_000 + PAGE);
            for index in crowd {
                if stays != Some(index) {
                    pages.remove(index);
                }
            }
            assert!(pages.places() <= 2 * FIRST, "{stays:?}: {}", pages.places());
            // What it takes to find these: eight bytes for each 16,384 that there were.
            let beyond = pages.beyond.as_ref();
            let shelves = beyond.map_or(0, |beyond| beyond.shelves.iter().flatten().count());
            let room = beyond.map_or(0, |beyond| beyond.shelves.capacity());
            assert!(shelves <= 2 && room <= 16, "{stays:?}: {shelves} of {room}");
            assert!(stays.is_none_or(|index| pages[index] == index));
        }
    }

    // promise 7.7
    #[test]
    fn a_tide_is_swept_so_seldom_that_it_costs_each_a_few_looks() {
        const HIGH: u32 = 20_000;
        for low in [0, 1, 100, HIGH / 8 - 1, HIGH / 8, HIGH / 8 + 1, HIGH - 64, HIGH - 1] {
            let mut pages = Pages::default();
            let mut here: Vec<u32> = (0..low).map(|number| pages.insert(number)).collect();
            let (before, mut moves) = (pages.looks.get(), 0);
            for _ in 0..20 {
                here.extend((low..HIGH).map(|number| pages.insert(number)));
                here.drain(low as usize..).for_each(|index| assert!(pages.remove(index).is_some()));
                moves += 2 * u64::from(HIGH - low);
            }
            let looks = pages.looks.get() - before;
            assert!(looks <= 3 * moves, "{low}: {looks} looks for {moves} moves");
        }
    }
}
