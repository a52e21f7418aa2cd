//! In which order flows have packets.

/// An order over flows that are numbered as they were created.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Each equally often: a random permutation, again and again.
    Uniform,
    /// By Zipf's law with s = 1: of n flows the one of rank k with a probability of 1 / (k * H(n)). The ranks are spread over
    /// all flows, so that busy ones are no neighbours in memory.
    Zipf,
    /// As they were created: what the processor's own prefetching likes best, and what no network does.
    Sequential,
}

impl Order {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Uniform, Self::Zipf, Self::Sequential];

    /// Its name in those of benchmarks.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf1",
            Self::Sequential => "sequential",
        }
    }

    /// As many packets as there are flows, at least 4096: the numbers of their flows.
    pub(crate) fn numbers(self, flows: u32) -> Vec<u32> {
        let packets = flows.max(4096);
        match self {
            Self::Uniform => {
                let mut random = Random::new();
                let mut permutation: Vec<u32> = (0..flows).collect();
                let mut numbers = Vec::with_capacity(packets as usize);
                while numbers.len() < packets as usize {
                    random.shuffle(&mut permutation);
                    numbers.extend_from_slice(&permutation);
                }
                numbers
            }
            Self::Zipf => zipf(flows, packets),
            Self::Sequential => (0..packets).map(|packet| packet % flows).collect(),
        }
    }
}

fn zipf(flows: u32, packets: u32) -> Vec<u32> {
    let mut random = Random::new();
    let mut by_rank: Vec<u32> = (0..flows).collect();
    random.shuffle(&mut by_rank);
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=flows)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    let draw = |_| {
        let point = random.below_one() * sum;
        let rank = sums.partition_point(|upto| *upto <= point);
        by_rank[rank.min(by_rank.len() - 1)]
    };
    (0..packets).map(draw).collect()
}

/// Random enough, and the same in every run: xorshift (Marsaglia, "Xorshift RNGs", 2003).
pub(crate) struct Random(u64);

impl Random {
    /// From the beginning.
    pub(crate) const fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number below 1, of 53 bits.
    fn below_one(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Brings `items` into another order, each equally likely (Fisher and Yates; Knuth, TAOCP 2, 3.4.2, algorithm P).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = last as u128 + 1;
            let other = (u128::from(self.next()) * bound) >> 64;
            items.swap(last, usize::try_from(other).expect("below the bound"));
        }
    }
}
