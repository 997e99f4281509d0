//! Names of CIM elements: compared without regard to the case of ASCII letters (DSP0004 section 5.1), found by hash.

/// Marks an empty place of the table; so a list has at most this many names.
const EMPTY: u16 = u16::MAX;

/// Finds the place of a name in a list, without regard to case and without making a lower-case copy.
///
/// The list itself stays with the owner, who lends it to each search. The names come from the schema, never from a
/// peer, so the hash need not resist chosen names.
#[derive(Clone, Debug, Default)]
pub struct NameIndex {
    table: Box<[u16]>,
}

impl NameIndex {
    /// Indexes `names`; of equal names the first is found. Lists of more than 65,534 names are cut there.
    pub fn new<'n>(names: impl ExactSizeIterator<Item = &'n str> + Clone) -> Self {
        let places = (names.len().max(1) * 2).next_power_of_two();
        let mut table = vec![EMPTY; places].into_boxed_slice();
        for (index, name) in (0..EMPTY).zip(names) {
            let mut place = hash(name) & (places - 1);
            while table.get(place).is_some_and(|taken| *taken != EMPTY) {
                place = (place + 1) & (places - 1);
            }
            if let Some(free) = table.get_mut(place) {
                *free = index;
            }
        }
        NameIndex { table }
    }

    /// The place of `name`; `name_at` gives the list's name at a place.
    pub fn find<'n>(&self, name: &str, name_at: impl Fn(u16) -> Option<&'n str>) -> Option<u16> {
        let mask = self.table.len().checked_sub(1)?;
        let mut place = hash(name) & mask;
        loop {
            let index = *self.table.get(place)?;
            if index == EMPTY {
                return None;
            }
            if name_at(index).is_some_and(|candidate| candidate.eq_ignore_ascii_case(name)) {
                return Some(index);
            }
            place = (place + 1) & mask;
        }
    }
}

/// FNV-1a over the lower-case octets; sixteen bits are enough for the tables here.
fn hash(name: &str) -> usize {
    let mut state: u32 = 0x811c_9dc5;
    for octet in name.bytes() {
        state = (state ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193);
    }
    let [a, b, c, d] = state.to_le_bytes();
    usize::from(u16::from_le_bytes([a ^ c, b ^ d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_without_regard_to_case_and_keeps_the_first_of_equal_names() {
        let names = ["InstanceID", "Caption", "caption", "JobState"];
        let index = NameIndex::new(names.iter().copied());
        let find = |name: &str| index.find(name, |at| names.get(usize::from(at)).copied());
        assert_eq!(find("INSTANCEID"), Some(0));
        assert_eq!(find("CAPTION"), Some(1));
        assert_eq!(find("jobstate"), Some(3));
        assert_eq!(find("JobStat"), None);
        assert_eq!(NameIndex::default().find("x", |_| None), None);
        assert_eq!(NameIndex::new([].into_iter()).find("x", |_| None), None);
    }
}
