//! A running `pg-camera`, with a service manager that notes what it is told.

use pg_tests::programs;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far more than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A camera that shows shapes that move, all of whose pictures are looked at.
pub(crate) const CAMERA: &str = "[[camera]]
name = \"shapes\"
source = \"synthetic:\"
trigger = \"always\"
rate = { max_per_minute = 6000.0, burst = 100 }
";

/// The program while it runs. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) folder: TempDir,
    lines: Receiver<String>,
    errors: Receiver<String>,
    manager: UnixDatagram,
    said: Vec<String>,
}

impl Daemon {
    /// Starts it with this configuration (less the model) and waits until it says that it is ready.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, |_| ())
    }

    /// As [`Daemon::start`], the command changed before.
    pub(crate) fn start_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), config);
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        let mut command = Command::new(programs::pg_camera());
        command
            .args(["run", "-c"])
            .arg(folder.path().join("camera.toml"))
            .env("NOTIFY_SOCKET", &socket)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let errors = follow(child.stderr.take().unwrap());
        let mut daemon = Daemon { child, folder, lines, errors, manager, said: Vec::new() };
        daemon.told("READY=1");
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the manager is told this, and returns the whole message.
    pub(crate) fn told(&mut self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut bytes = [0; 4096];
        while let Some(rest) = until.checked_duration_since(Instant::now()) {
            self.manager.set_read_timeout(Some(rest.max(Duration::from_millis(1)))).unwrap();
            let Ok(n) = self.manager.recv(&mut bytes) else { break };
            let message = String::from_utf8_lossy(&bytes[..n]).into_owned();
            self.said.push(message.clone());
            if message.lines().any(|line| line.starts_with(what)) {
                return message;
            }
        }
        panic!("the manager was not told {what}, only {:?}; {:?}", self.said, self.log());
    }

    /// The next event.
    pub(crate) fn event(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("no event came; {:?}", self.log()));
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// The next event of this kind.
    pub(crate) fn event_of(&self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["kind"] == kind {
                return event;
            }
        }
    }

    /// Waits for a line of the log that holds this.
    pub(crate) fn logged(&self, what: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.errors.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("the log does not say {what:?}, only {seen:?}"),
            }
        }
    }

    fn log(&self) -> Vec<String> {
        self.errors.try_iter().collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Replaces the configuration file.
    pub(crate) fn configure(&self, config: &str) {
        write_config(self.folder.path(), config);
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end; {:?}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(folder: &Path, config: &str) {
    let folder_text = folder.display().to_string();
    let text = format!(
        "[model]\npath = \"demo\"\n[runtime]\nthreads = 1\n{}",
        config.replace("FOLDER", &folder_text)
    );
    std::fs::write(folder.join("camera.toml"), text).unwrap();
}

fn follow(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
