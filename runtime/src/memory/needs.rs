//! Whether a run fits: what it needs beside what the machine has.

use crate::platform::{machine, sizes};
use alloc::format;
use alloc::string::String;

/// What a run needs and what there is for it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The model's file.
    pub file: u64,
    /// The session's regions: [`Plan::bytes`](super::Plan::bytes).
    pub plan: u64,
    /// The program with the vocabulary and the table of tensors.
    pub program: u64,
    /// A copy of the weights, 0 if the file's own pages are used.
    pub copy: u64,
    /// What the machine has; `None` where it does not say.
    pub available: Option<machine::Available>,
    /// What somebody asked for at most.
    pub limit: Option<u64>,
}

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It fits with the file.
    Fits,
    /// It fits, but the memory is so many bytes too small for the weights: as they are read from one end to the other for every
    /// token, what is needed next has always been dropped, and all of them come from the disk again (seen by
    /// `tests/board-memory`).
    Slow(u64),
    /// It would fail, and is refused.
    Refused,
}

impl Needs {
    /// Without this much a run fails.
    pub fn must(&self) -> u64 {
        self.plan + self.program + self.copy
    }

    /// Without this much it reads weights from the disk again and again. Mapped ones can be dropped.
    pub fn should(&self) -> u64 {
        self.must() + if self.copy == 0 { self.file } else { 0 }
    }

    /// The lowest limit and what sets it, in words that an amount follows.
    pub fn most(&self) -> Option<(u64, &'static str)> {
        let machine = self.available.map(|a| match a.group {
            Some(group) if group < a.system => (group, "the control group allows"),
            _ => (a.system, "this machine has available"),
        });
        let asked = self.limit.map(|limit| (limit, "--memory-limit allows"));
        [machine, asked].into_iter().flatten().min_by_key(|(bytes, _)| *bytes)
    }

    /// What becomes of the run; where nothing is known of the machine, it fits.
    pub fn verdict(&self) -> Verdict {
        match self.most() {
            Some((most, _)) if self.must() > most => Verdict::Refused,
            Some((most, _)) if self.should() > most => Verdict::Slow(self.should() - most),
            _ => Verdict::Fits,
        }
    }

    /// The verdict in words with the numbers; `None` if it fits.
    pub fn complaint(&self) -> Option<String> {
        let (most, who) = self.most()?;
        match self.verdict() {
            Verdict::Fits => None,
            Verdict::Slow(short) => Some(format!(
                "slow: the memory is {} too small for the weights, which would be read from the disk again for every token",
                sizes::text(short)
            )),
            Verdict::Refused => {
                let copy = match self.copy {
                    0 => String::new(),
                    copy => format!(", copy of the weights {}", sizes::text(copy)),
                };
                Some(format!(
                    "does not fit: a run must have {} (plan {}, program and vocabulary {}{copy}), {who} {}: ask for \
                     fewer tokens or threads, or use a smaller model",
                    sizes::text(self.must()),
                    sizes::text(self.plan),
                    sizes::text(self.program),
                    sizes::text(most),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(system: u64, group: Option<u64>, limit: Option<u64>) -> Needs {
        let available = Some(machine::Available { system, group });
        Needs { file: 1000, plan: 70, program: 30, copy: 0, available, limit }
    }

    #[test]
    fn the_lowest_limit_decides() {
        for (system, group, limit, verdict) in [
            (1100, None, None, Verdict::Fits),
            (1099, None, None, Verdict::Slow(1)),
            (100, None, None, Verdict::Slow(1000)),
            (99, None, None, Verdict::Refused),
            (5000, Some(99), None, Verdict::Refused),
            (5000, Some(2000), Some(600), Verdict::Slow(500)),
        ] {
            let n = needs(system, group, limit);
            assert_eq!(n.verdict(), verdict, "{n:?}");
            assert_eq!(n.complaint().is_none(), verdict == Verdict::Fits);
        }
        let refused = needs(5000, Some(99), None).complaint().unwrap();
        assert!(refused.contains("must have 100 B") && refused.contains("the control group allows 99 B"));
        assert_eq!(Needs { available: None, ..needs(1, None, None) }.verdict(), Verdict::Fits);
    }

    #[test]
    fn a_copy_cannot_be_dropped() {
        let n = Needs { copy: 1000, ..needs(1099, None, None) };
        assert_eq!((n.must(), n.should(), n.verdict()), (1100, 1100, Verdict::Refused));
        assert!(n.complaint().unwrap().contains(", copy of the weights 1.0 kB"));
    }
}
