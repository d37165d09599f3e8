//! What follows the question mark where a source or a display is named: `?size=640x480&fps=5`.

/// What follows the question mark: each name once.
pub(crate) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    pub(crate) fn split(rest: &'a str) -> Result<(&'a str, Self), String> {
        let Some((name, query)) = rest.split_once('?') else { return Ok((rest, Query(Vec::new()))) };
        let mut parts: Vec<(&str, &str)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part}: write {part}=…"))?;
            if parts.iter().any(|(other, _)| *other == key) {
                return Err(format!("{key}= stands there twice"));
            }
            parts.push((key, value));
        }
        Ok((name, Query(parts)))
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(other, _)| *other == key)?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn done(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("{key}= means nothing here")),
        }
    }
}

/// `640x480`
pub(crate) fn size(text: &str) -> Result<[u32; 2], String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some([w.parse().ok()?, h.parse().ok()?]));
    let most = pg_runtime::imaging::MAX_SIDE as u32;
    let is_possible = |sides: &[u32; 2]| sides.iter().all(|side| (1..=most).contains(side));
    sides
        .filter(is_possible)
        .ok_or_else(|| format!("{text} is no size: write 640x480, sides of at most {most}"))
}
