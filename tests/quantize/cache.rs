//! Released models by name: found in a Hugging Face cache laid out by hand, by each variable that says where it is.

use crate::checkpoint::{Case, refusal};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Puts the case's checkpoint into `cache` as `hf download` does: blobs, and snapshots that link to them.
fn lay_out(case: &Case, cache: &Path, name: &str, revision: &str) {
    let repository = cache.join(format!("models--google--{name}"));
    let (blobs, snapshot) = (repository.join("blobs"), repository.join("snapshots").join(revision));
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    for (i, entry) in fs::read_dir(case.folder()).unwrap().enumerate() {
        let entry = entry.unwrap();
        let blob = format!("{revision}{i}");
        fs::copy(entry.path(), blobs.join(&blob)).unwrap();
        symlink(Path::new("../../blobs").join(&blob), snapshot.join(entry.file_name())).unwrap();
    }
}

#[test]
fn each_variable_leads_to_the_cache() {
    let case = Case::new();
    for (key, cache) in [
        ("HF_HUB_CACHE", "hub"),
        ("HF_HOME", "home/hub"),
        ("XDG_CACHE_HOME", "xdg/huggingface/hub"),
        ("HOME", "user/.cache/huggingface/hub"),
    ] {
        let cache_folder = case.root.path().join(cache);
        lay_out(&case, &cache_folder, "paligemma-3b-mix-224", "abc123");
        fs::write(cache_folder.join("models--google--paligemma-3b-mix-224/refs/main"), "abc123").unwrap();
        let depth = Path::new(cache).components().next().unwrap();
        let value = case.root.path().join(depth);
        let output = case.command(["mix-224"]).env(key, value).output().unwrap();
        assert!(output.status.success(), "{key}: {output:?}");
        assert_eq!(case.written(), ["paligemma-3b-mix-224.q4.gguf"]);
        fs::remove_file(case.out().join("paligemma-3b-mix-224.q4.gguf")).unwrap();
    }
}

#[test]
fn the_current_revision_counts_and_else_the_newest() {
    let case = Case::new();
    let cache = case.root.path().join("hub");
    lay_out(&case, &cache, "paligemma-3b-pt-448", "aaa");
    let repository = cache.join("models--google--paligemma-3b-pt-448");
    // A later snapshot without files, as an interrupted download leaves it.
    fs::create_dir(repository.join("snapshots/bbb")).unwrap();
    let run = || case.command(["pt-448", "--q8"]).env("HF_HUB_CACHE", &cache).output().unwrap();

    fs::write(repository.join("refs/main"), "aaa\n").unwrap();
    assert!(run().status.success());
    for reference in [None, Some("ccc"), Some("../../../tiny")] {
        match reference {
            None => fs::remove_file(repository.join("refs/main")).unwrap(),
            Some(revision) => fs::write(repository.join("refs/main"), revision).unwrap(),
        }
        let message = refusal(&run());
        assert!(message.contains("snapshots/bbb has no config.json"), "{message}");
    }
}

#[test]
fn what_is_absent_is_explained() {
    let case = Case::new();
    let empty = case.root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let message = refusal(&case.command(["mix-448"]).env("HF_HUB_CACHE", &empty).output().unwrap());
    for part in [
        "google/paligemma-3b-mix-448 is not in the Hugging Face cache",
        empty.to_str().unwrap(),
        "accept the Gemma licence on https://huggingface.co/google/paligemma-3b-mix-448",
        "\n    hf download google/paligemma-3b-mix-448\n",
    ] {
        assert!(message.contains(part), "{message} does not say {part}");
    }
    let message = refusal(&case.run(["mix-896"]));
    assert!(message.contains("there is no mix-896"), "{message}");
    let message = refusal(&case.run(["pt-224"]));
    assert!(message.contains("set HF_HUB_CACHE, HF_HOME or HOME"), "{message}");
}
