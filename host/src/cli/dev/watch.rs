//! Tells when a source of a crate was saved.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Editors write a file in several steps: after the last one, it is quiet for this long.
const QUIET: Duration = Duration::from_millis(150);

/// The sources of one crate, watched while this lives.
pub struct Sources {
    changed: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Sources {
    /// Watches `src` and `Cargo.toml` of a crate.
    ///
    /// # Errors
    /// The folder is no crate, or the system has no watch left.
    pub fn watch(folder: &Path) -> anyhow::Result<Self> {
        let (tell, changed) = mpsc::channel(1);
        let on_event = move |event: notify::Result<notify::Event>| {
            // An error may hide a save; a build too many does no harm.
            if event.map_or(true, |event| is_save(&event)) {
                // A full channel has told already.
                let _ = tell.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(on_event).context("the sources cannot be watched")?;
        // Editors replace files, which ends a watch on the file itself: the folder is watched for Cargo.toml.
        for (place, mode) in
            [(folder.to_path_buf(), RecursiveMode::NonRecursive), (folder.join("src"), RecursiveMode::Recursive)]
        {
            let missing = || format!("{} cannot be watched: name the module's crate with --path DIR", place.display());
            watcher.watch(&place, mode).with_context(missing)?;
        }
        Ok(Self { changed, _watcher: watcher })
    }

    /// Waits for the next save, and until it is quiet again. Cancel-safe before the first change is seen.
    pub async fn saved(&mut self) {
        if self.changed.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changed.recv()).await {}
    }
}

/// Reading is no save, and neither is what a build writes.
fn is_save(event: &notify::Event) -> bool {
    let saved = !matches!(event.kind, EventKind::Access(_));
    saved && event.paths.iter().any(|path| is_source(path.as_path()))
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "rs") || path.file_name().is_some_and(|name| name == "Cargo.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_save_is_seen_and_a_read_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("src/lib.rs");
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(&source, "1").unwrap();
        let mut sources = Sources::watch(folder.path()).unwrap();
        std::fs::read(&source).unwrap();
        std::fs::write(folder.path().join("src/notes.txt"), "no source").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(300), sources.saved()).await.is_err());
        for write in [&source, &folder.path().join("Cargo.toml")] {
            std::fs::write(write, "2").unwrap();
            tokio::time::timeout(Duration::from_secs(5), sources.saved()).await.expect("the save is seen");
        }
        // An editor that replaces the file.
        std::fs::write(folder.path().join("src/lib.rs~"), "3").unwrap();
        std::fs::rename(folder.path().join("src/lib.rs~"), &source).unwrap();
        tokio::time::timeout(Duration::from_secs(5), sources.saved()).await.expect("the replacement is seen");
    }
}
