//! A set of numbers that begin at zero and have few gaps.

/// The set.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<u64>);

impl Marks {
    /// Puts a number in; says whether it was in there already.
    pub fn set(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let was = self.0[word] & bit != 0;
        self.0[word] |= bit;
        was
    }

    /// How many are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many are in it and not in the other one.
    pub fn missing_in(&self, other: &Self) -> u64 {
        let of_other = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter().zip(of_other).map(|(mine, others)| u64::from((mine & !others).count_ones())).sum()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect())
    }
}
