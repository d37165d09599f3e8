//! Texts at which an answer ends.

use crate::http::Failure;

/// As many as OpenAI allows.
const MOST: usize = 4;

/// Stop sequences, none of them empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Stops(Vec<String>);

impl Stops {
    /// # Errors
    /// 400 if there are too many.
    pub(super) fn new(stops: Vec<String>) -> Result<Self, Failure> {
        if stops.len() > MOST {
            return Err(Failure::bad(
                "stop",
                format!("stop: {} texts, at most {MOST} are taken", stops.len()),
            ));
        }
        Ok(Stops(stops.into_iter().filter(|stop| !stop.is_empty()).collect()))
    }

    /// Where the first of them begins.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        self.0.iter().filter_map(|stop| text.find(stop.as_str())).min()
    }

    /// Bytes that no stop sequence can take back, whatever follows.
    pub(super) fn certain(&self, text: &str) -> usize {
        let held = |stop: &String| {
            let beginnings = stop.char_indices().map(|(i, _)| i).skip(1).chain([stop.len()]);
            beginnings.filter(|n| text.ends_with(&stop[..*n])).max().unwrap_or(0)
        };
        text.len() - self.0.iter().map(held).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_at_the_first_and_beginnings_are_held_back() {
        let stops = Stops::new(vec!["END".into(), "é!".into(), String::new()]).unwrap();
        assert_eq!(stops.find("one END two"), Some(4));
        assert_eq!(stops.find("é! END"), Some(0));
        assert_eq!(stops.find("EN D"), None);
        assert_eq!(stops.certain("one E"), 4);
        assert_eq!(stops.certain("one EN"), 4);
        assert_eq!(stops.certain("one ENx"), 7);
        assert_eq!(stops.certain("é"), 0);
        assert_eq!(Stops::default().certain("one"), 3);
        assert!(Stops::new(vec!["x".into(); 5]).is_err());
    }
}
