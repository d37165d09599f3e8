//! `doctor`: tries everything that a configuration needs, one after the other.

use crate::config::{self, Config};
use crate::sinks::snapshots;
use crate::{Failure, Outcome, models};
use pg_runtime::memory::Verdict;
use pg_targets::camera::{FrameBuffer, Location, Next};
use pg_targets::display;
use pg_targets::machine::Machine;
use pg_targets::machine::checks::{self, Check, Level};
use serde_json::json;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a source or a broker is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn run(path: Option<&Path>, as_json: bool) -> Result<Outcome, Failure> {
    let machine = Machine::read(Path::new("/"));
    let kernels = pg_runtime::Kernels::detect().name();
    let mut found = checks::all(&machine, machine.profile().as_ref(), Some(kernels));
    for camera in &machine.cameras {
        found.push(Check::ok("camera", camera.clone()));
    }
    if let Some(path) = path {
        of_config(&config::load(path)?, &mut found);
    }
    let problems = found.iter().filter(|c| c.level == Level::Problem).count();
    let mut out = io::stdout().lock();
    if as_json {
        let checks: Vec<_> = found
            .iter()
            .map(|c| json!({ "name": c.name, "level": c.level.name(), "found": c.found, "advice": c.advice }))
            .collect();
        writeln!(out, "{}", json!({ "v": 1, "checks": checks, "problems": problems }))?;
    } else {
        for check in &found {
            writeln!(out, "{:<8} {:<12} {}", check.level.name(), check.name, check.found)?;
            if let Some(advice) = &check.advice {
                writeln!(out, "{:<8} {:<12} -> {advice}", "", "")?;
            }
        }
        writeln!(out, "{problems} problem{}", if problems == 1 { "" } else { "s" })?;
    }
    Ok(if problems == 0 { Outcome::Done } else { Outcome::Problems })
}

fn of_config(config: &Config, found: &mut Vec<Check>) {
    found.push(model(config));
    for camera in &config.cameras {
        found.push(source(camera));
    }
    if let Some(http) = &config.http {
        found.push(match TcpListener::bind(&http.listen) {
            Ok(_) => Check::ok("http", format!("{} is free", http.listen)),
            Err(e) => Check::bad(
                "http",
                Level::Problem,
                format!("{}: {e}", http.listen),
                "end what uses the port, or change http.listen",
            ),
        });
        for (name, secret) in [("admin_token", &http.admin_token), ("viewer_token", &http.viewer_token)] {
            if let Some(Err(e)) = secret.as_ref().map(config::Secret::read) {
                found.push(Check::bad(
                    "http",
                    Level::Problem,
                    format!("{name}: {e}"),
                    "write the token into the file",
                ));
            }
        }
    }
    for (i, webhook) in config.webhooks.iter().enumerate() {
        if let Err(e) = webhook.target() {
            let what = format!("webhook {}: {e}", i + 1);
            found.push(Check::bad("webhook", Level::Problem, what, "write the secret into the file"));
        }
    }
    if let Some(mqtt) = &config.mqtt {
        found.push(broker(mqtt));
    }
    if let Some(settings) = &config.display {
        found.push(display(settings));
    }
    if let Some(settings) = &config.snapshots {
        found.push(match snapshots::Folder::open(settings) {
            Ok(_) => Check::ok("snapshots", format!("{} can be written", settings.folder.display())),
            Err(e) => Check::bad("snapshots", Level::Problem, e, "let the program's user write there"),
        });
    }
}

/// Opens it, which clears a panel.
fn display(settings: &config::Display) -> Check {
    let opened = settings.device.parse::<display::Location>().and_then(|location| {
        let name = location.to_string();
        location.open().map(|_| name)
    });
    match opened {
        Ok(name) => Check::ok("display", format!("{name} can be used")),
        Err(e) => {
            Check::bad("display", Level::Problem, e, "check the cable, the lines and who else uses them")
        }
    }
}

fn model(config: &Config) -> Check {
    let needs = models::header(&config.model.path).and_then(|header| models::needs(config, &header));
    match needs {
        Err(e) => {
            Check::bad("model", Level::Problem, e, "pack one with pg-quantize, or take path = \"demo\"")
        }
        Ok((needs, _)) => match (needs.verdict(), needs.complaint()) {
            (Verdict::Refused, Some(complaint)) => {
                Check::bad("model", Level::Problem, complaint, "`pg-camera plan` has the numbers")
            }
            (_, Some(complaint)) => {
                Check::bad("model", Level::Warning, complaint, "`pg-camera plan` has the numbers")
            }
            _ => Check::ok("model", format!("{}: fits", config.model.path.display())),
        },
    }
}

/// Takes one picture.
fn source(camera: &config::Camera) -> Check {
    let picture = camera.source.parse::<Location>().map_err(|e| e.to_string()).and_then(|location| {
        let mut source = location.open(&camera.options()).map_err(|e| e.to_string())?;
        let mut frame = FrameBuffer::default();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match source.next(&mut frame, Duration::from_millis(500)).map_err(|e| e.to_string())? {
                Next::Frame => return Ok(format!("{} x {} pixels", frame.width(), frame.height())),
                Next::Nothing => {}
                Next::End => return Err("ended before its first picture".to_string()),
            }
        }
        Err(format!("no picture came in {} s", PATIENCE.as_secs()))
    });
    match picture {
        Ok(size) => Check::ok("camera", format!("{}: {size}", camera.name)),
        Err(e) => Check::bad(
            "camera",
            Level::Problem,
            format!("{}: {e}", camera.name),
            "check the cable, the address and who else uses it",
        ),
    }
}

fn broker(mqtt: &config::Mqtt) -> Check {
    let port = mqtt.port();
    let place = format!("{}:{port}", mqtt.host);
    let connect = || -> io::Result<()> {
        let address = (mqtt.host.as_str(), port).to_socket_addrs()?.next();
        let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
        TcpStream::connect_timeout(&address, PATIENCE).map(|_| ())
    };
    match connect() {
        Ok(()) => Check::ok("mqtt", format!("{place} answers")),
        Err(e) => Check::bad(
            "mqtt",
            Level::Problem,
            format!("{place}: {e}"),
            "start the broker, or change mqtt.host",
        ),
    }
}
