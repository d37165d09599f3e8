//! How fast integer products could be: loops of multiplications on registers, without a load or a store.
//!
//! What a table's matrix products reach is a share of that. There is a loop for every way of its instruction set to
//! multiply two kinds of operands, written in assembly where a compiler would rearrange it; the best loop of a kind
//! is the peak. A new table brings its own list.

use super::Kernels;

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// Two signed 8-bit numbers over their full range, as 8-bit weights with activations: sums have to be taken in 32
    /// bits at once.
    Int8,
    /// A 4-bit number from 0 to 15 and a signed 8-bit one, as 4-bit weights with activations: eight products fit into a
    /// sum of 16 bits.
    Int4,
}

/// One loop; having it proves that its instructions run here, as [`Kernels`] does, which alone hands them out.
#[derive(Debug)]
pub struct Peak {
    pub(super) operands: Operands,
    pub(super) name: &'static str,
    /// Multiplications (each with an addition) of one pass.
    pub(super) macs: u64,
    /// Runs that many passes, at least one, and returns the first sum modulo 2^32.
    pub(super) run: unsafe fn(u64) -> i32,
}

impl Peak {
    /// What it multiplies.
    pub fn operands(&self) -> Operands {
        self.operands
    }

    /// The instruction that multiplies.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs `passes` passes, at least one, and returns the number of multiplications.
    pub fn run(&self, passes: u64) -> u64 {
        let passes = passes.max(1);
        // SAFETY: the loop is handed out by `Kernels::peaks` only, whose instructions run here.
        core::hint::black_box(unsafe { (self.run)(passes) });
        passes * self.macs
    }
}

impl Kernels {
    /// The loops of this table's instruction set, at least one for either kind of operands.
    pub fn peaks(&self) -> &'static [Peak] {
        self.table.peaks
    }
}

/// Operands of one register of any width up to 64 bytes.
#[repr(C, align(64))]
pub(super) struct Values {
    /// Signed, over the full range.
    pub(super) a: [i8; 64],
    /// Signed, over the full range.
    pub(super) b: [i8; 64],
    /// `a` without signs.
    pub(super) magnitude: [u8; 64],
    /// From 0 to 15.
    pub(super) nibbles: [u8; 64],
    /// For additions of neighbours.
    pub(super) ones: [i16; 32],
}

pub(super) static VALUES: Values = values();

const fn values() -> Values {
    let mut v = Values { a: [0; 64], b: [0; 64], magnitude: [0; 64], nibbles: [0; 64], ones: [1; 32] };
    let mut i = 0;
    while i < 64 {
        v.a[i] = ((i * 37 + 11) % 255) as i8;
        v.b[i] = ((i * 91 + 60) % 255) as i8;
        // Neither operand of a sign is its lowest value, which has no opposite.
        if v.b[i] == i8::MIN {
            v.b[i] = 1;
        }
        v.magnitude[i] = v.a[i].unsigned_abs();
        v.nibbles[i] = (i * 7 % 16) as u8;
        i += 1;
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first sum that the loop called `name` has to end with after one pass.
    fn first_sum(name: &str) -> i32 {
        let v = &VALUES;
        let dot = |n: usize, x: &dyn Fn(usize) -> i32, y: &[i8]| {
            (0..n).map(|i| x(i) * i32::from(y[i])).sum::<i32>()
        };
        match name {
            "scalar" => dot(64, &|i| v.a[i].into(), &v.b),
            "scalar, nibbles" => dot(64, &|i| v.nibbles[i].into(), &v.b),
            // Operands widened from 8 bits: the lane's two.
            "vpmaddwd" => dot(2, &|i| v.a[i].into(), &v.b),
            "vpsignb, vpmaddubsw" => dot(4, &|i| v.a[i].into(), &v.b),
            "vpmaddubsw, 16-bit sums" => 8 * dot(4, &|i| v.nibbles[i].into(), &v.b),
            // Of two vectors of products, the first two.
            "smull, smlal2, sadalp" => {
                dot(2, &|i| v.a[i].into(), &v.b) + dot(2, &|i| v.a[8 + i].into(), &v.b[8..])
            }
            "smlal, 16-bit sums" => 8 * dot(2, &|i| v.nibbles[i].into(), &v.b),
            "sdot" => dot(4, &|i| v.a[i].into(), &v.b),
            "sdot, nibbles" => dot(4, &|i| v.nibbles[i].into(), &v.b),
            "smmla" => dot(8, &|i| v.a[i].into(), &v.b),
            "smmla, nibbles" => dot(8, &|i| v.nibbles[i].into(), &v.b),
            other => panic!("what does {other} compute?"),
        }
    }

    #[test]
    fn loops_multiply_what_they_claim() {
        for kernels in Kernels::available() {
            for wanted in [Operands::Int8, Operands::Int4] {
                assert!(kernels.peaks().iter().any(|p| p.operands() == wanted), "{kernels:?}: {wanted:?}");
            }
            for peak in kernels.peaks() {
                for passes in [1, 2, 1000] {
                    // SAFETY: the table is available here.
                    let sum = unsafe { (peak.run)(passes) };
                    assert_eq!(
                        sum,
                        first_sum(peak.name).wrapping_mul(passes as i32),
                        "{} x {passes}",
                        peak.name
                    );
                }
                assert_eq!(peak.run(3), 3 * peak.macs);
                assert_eq!(peak.run(0), peak.macs);
            }
        }
    }
}
