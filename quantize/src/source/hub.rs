//! Finds released models in the Hugging Face cache. Reads only; nothing is ever downloaded.
//!
//! Layout, as `huggingface_hub` writes it: `models--google--paligemma-3b-mix-224/refs/main` holds a revision, and
//! `snapshots/<revision>/` links into `blobs/`.

use crate::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A released model by its short name, such as `mix-224`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// `paligemma-3b-mix-224`.
    pub(crate) name: String,
}

impl Release {
    /// The release that `asked` names, if it has the form of a short name.
    pub(crate) fn parse(asked: &str) -> Option<Result<Self, Error>> {
        let (kind, size) = asked.split_once('-')?;
        if !["pt", "mix"].contains(&kind) || !["224", "448", "896"].contains(&size) {
            return None;
        }
        if (kind, size) == ("mix", "896") {
            return Some(Err(Error::NotReleased { name: asked.into() }));
        }
        Some(Ok(Release { name: format!("paligemma-3b-{asked}") }))
    }

    /// The folder of its snapshot in the cache that the environment names.
    pub(crate) fn find(&self) -> Result<PathBuf, Error> {
        let cache = cache_folder(|key| std::env::var_os(key)).ok_or(Error::NoCache)?;
        self.find_in(&cache)
    }

    fn find_in(&self, cache: &Path) -> Result<PathBuf, Error> {
        let folder = cache.join(format!("models--google--{}", self.name));
        current(&folder).or_else(|| newest(&folder)).ok_or_else(|| Error::NotCached {
            repository: format!("google/{}", self.name),
            cache: cache.to_path_buf(),
        })
    }
}

/// The snapshot that refs/main names.
fn current(folder: &Path) -> Option<PathBuf> {
    let revision = std::fs::read_to_string(folder.join("refs/main")).ok()?;
    let revision = revision.trim();
    // A revision is one plain name; anything else would leave the cache.
    let is_plain = !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_alphanumeric());
    let snapshot = folder.join("snapshots").join(revision);
    (is_plain && snapshot.is_dir()).then_some(snapshot)
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let snapshots = std::fs::read_dir(folder.join("snapshots")).ok()?;
    let dated = snapshots.flatten().filter_map(|entry| {
        let path = entry.path();
        let modified = path.metadata().ok().filter(|m| m.is_dir())?.modified().ok()?;
        Some((modified, path))
    });
    dated.max().map(|(_, path)| path)
}

/// Where the cache is: the same variables in the same order as `huggingface_hub`.
fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |key| variable(key).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(hub) = set("HF_HUB_CACHE") {
        return Some(hub);
    }
    let home = set("HF_HOME")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(set("HOME")?.join(".cache/huggingface")))?;
    Some(home.join("hub"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_recognized() {
        let name = |s: &str| Release::parse(s).map(|r| r.map(|r| r.name).map_err(|e| e.to_string()));
        assert_eq!(name("mix-224"), Some(Ok("paligemma-3b-mix-224".into())));
        assert_eq!(name("pt-896"), Some(Ok("paligemma-3b-pt-896".into())));
        assert!(name("mix-896").unwrap().unwrap_err().contains("224 and 448 only"));
        assert_eq!((name("mix-225"), name("demo"), name("mix")), (None, None, None));
    }

    #[test]
    fn variables_are_asked_in_the_hubs_order() {
        let all = [("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/d")];
        let expected = ["/a", "/b/hub", "/c/huggingface/hub", "/d/.cache/huggingface/hub"];
        for (n, path) in expected.into_iter().enumerate() {
            let mut set = all[n..].iter();
            let found = cache_folder(|k| set.clone().find(|(key, _)| *key == k).map(|(_, v)| v.into()));
            assert_eq!(found, Some(PathBuf::from(path)));
            assert!(set.next().is_some());
        }
        assert_eq!(cache_folder(|_| Some(OsString::new())), None);
    }
}
