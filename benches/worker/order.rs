//! In which order flows have packets.

use clap::ValueEnum;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// Each once a round, in an order that has nothing to do with their creation.
    Shuffled,
    /// Each once a round, in the order of their creation, which flatters: what was made together lies together.
    Sequential,
    /// As popularity is spread: the n-th of them has an n-th of the first one's packets (Zipf, with exponent 1).
    Zipf,
}

/// A random sequence that is the same in every run (Marsaglia, "Xorshift RNGs", 2003).
pub(crate) struct Random(u64);

/// Packets of a Zipf sequence at least, so that its tail is in it.
const ZIPF_PACKETS: u32 = 1 << 22;

impl Order {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shuffled => "shuffled",
            Self::Sequential => "sequential",
            Self::Zipf => "zipf",
        }
    }

    /// Numbers below `count`: each once, or, of Zipf, as many as it takes.
    pub(crate) fn numbers(self, count: u32, random: &mut Random) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..count).collect();
        if self == Self::Sequential {
            return numbers;
        }
        for last in (1..count).rev() {
            numbers.swap(last as usize, random.below(last + 1) as usize);
        }
        if self == Self::Shuffled {
            return numbers;
        }
        // How many packets the first n have together, of which each of them has a share; then who is where in that.
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=count)
            .map(|n| {
                sum += 1.0 / f64::from(n);
                sum
            })
            .collect();
        let mut draw = || {
            let at = random.fraction() * sum;
            numbers[sums.partition_point(|upto| *upto <= at).min(numbers.len() - 1)]
        };
        (0..count.max(ZIPF_PACKETS)).map(|_| draw()).collect()
    }
}

impl Random {
    pub(crate) const fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    #[inline]
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    #[inline]
    pub(crate) const fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * limit as u64) >> 32) as u32
    }

    fn fraction(&mut self) -> f64 {
        f64::from(self.below(u32::MAX)) / f64::from(u32::MAX)
    }
}
