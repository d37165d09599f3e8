//! The sections of the file but cameras and webhooks.

use super::{Camera, Secret, Webhook};
use crate::engine::heat;
use crate::prompt;
use serde::Deserialize;
use std::path::PathBuf;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) model: Model,
    #[serde(default)]
    pub(crate) runtime: Runtime,
    #[serde(default)]
    pub(crate) heat: heat::Settings,
    #[serde(default)]
    pub(crate) output: Output,
    /// Leave out to serve nothing over HTTP.
    pub(crate) http: Option<Http>,
    /// Leave out to use no broker.
    pub(crate) mqtt: Option<Mqtt>,
    /// Leave out to write no snapshots.
    pub(crate) snapshots: Option<Snapshots>,
    /// Servers that are told of events.
    #[serde(default, rename = "webhook")]
    pub(crate) webhooks: Vec<Webhook>,
    /// Leave out to show nothing.
    pub(crate) display: Option<Display>,
    #[serde(default, rename = "camera")]
    pub(crate) cameras: Vec<Camera>,
}

/// The packed model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// A file that pg-quantize wrote, or `demo` for the small bundled one.
    pub(crate) path: PathBuf,
    /// Where its weights are: `mapped` (in the file's own pages) or `huge` (a copy on huge pages).
    #[serde(default)]
    pub(crate) weights: Weights,
}

/// Where weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Weights {
    #[default]
    Mapped,
    Huge,
}

/// How the model is run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Runtime {
    /// Threads that compute; 0 takes all cores.
    pub(crate) threads: usize,
    /// Kernel table, such as `neon-dotprod`; the best that runs if left out.
    pub(crate) kernels: Option<String>,
    /// Longest prompt in tokens.
    pub(crate) max_prompt_tokens: usize,
    /// Longest answer in tokens.
    pub(crate) max_new_tokens: usize,
    /// Longest side of a picture in pixels.
    pub(crate) max_side: usize,
    /// Refuse to start if more memory is needed, such as "1500M"; what the machine has if left out.
    pub(crate) memory_limit: Option<String>,
    /// Requests by HTTP and MQTT that may wait; more are refused with an estimate of when to try again.
    pub(crate) max_queue: usize,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime {
            threads: 0,
            kernels: None,
            max_prompt_tokens: 128,
            max_new_tokens: 128,
            max_side: 4096,
            memory_limit: None,
            max_queue: 4,
        }
    }
}

/// What is written to standard output.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Output {
    /// One JSON object a line for every event.
    pub(crate) json_lines: bool,
    /// Events kept for whoever asks for earlier ones or reads slowly.
    pub(crate) history: usize,
}

impl Default for Output {
    fn default() -> Self {
        Output { json_lines: true, history: 1000 }
    }
}

/// The live page, REST, OpenAI's and moondream's interfaces, metrics.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Address and port. Elsewhere than on loopback only with a token.
    pub(crate) listen: String,
    /// A Unix socket to serve on as well.
    pub(crate) unix: Option<PathBuf>,
    /// File with the token that may do everything.
    pub(crate) admin_token: Option<Secret>,
    /// File with the token that may look but change nothing.
    pub(crate) viewer_token: Option<Secret>,
    /// Serve beyond loopback without a token: everybody in the network sees the cameras.
    pub(crate) insecure_i_know: bool,
    /// Names by which browsers may reach it, besides addresses and localhost.
    pub(crate) allowed_hosts: Vec<String>,
    /// Hosts that pictures are fetched from for requests that name one by its address: `host` or `host:port`, with
    /// `=address` behind it if the host is in the own network. Empty: pictures come inside requests only.
    pub(crate) allow_http_images: Vec<String>,
    /// Connections at a time.
    pub(crate) max_connections: usize,
    /// Viewers of live pictures at a time, of each camera.
    pub(crate) max_viewers: usize,
    /// How free text becomes a prompt.
    pub(crate) prompts: prompt::Settings,
    /// TLS, instead of a reverse proxy.
    pub(crate) tls: Option<Tls>,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: "127.0.0.1:8080".into(),
            unix: None,
            admin_token: None,
            viewer_token: None,
            insecure_i_know: false,
            allowed_hosts: Vec::new(),
            allow_http_images: Vec::new(),
            max_connections: 256,
            max_viewers: 8,
            prompts: prompt::Settings::default(),
            tls: None,
        }
    }
}

/// A certificate and its key, read again on SIGHUP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// PEM file with the certificate and those that signed it.
    pub(crate) certificate: PathBuf,
    /// PEM file with its key.
    pub(crate) key: PathBuf,
}

/// A broker of MQTT 5.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mqtt {
    /// Name or address of the broker.
    pub(crate) host: String,
    /// 1883, or 8883 with TLS, if left out.
    pub(crate) port: Option<u16>,
    /// Different for every client of a broker: two of the same name throw each other out.
    pub(crate) client_id: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    /// First part of every topic. Different for every `pg-camera` of a broker: each takes off what it finds there of other
    /// cameras.
    pub(crate) base_topic: String,
    /// Announce the entities to Home Assistant.
    pub(crate) discovery: bool,
    /// Where Home Assistant looks for them.
    pub(crate) discovery_prefix: String,
    /// Seconds without a message after which the broker calls the connection lost.
    pub(crate) keep_alive: u16,
    /// Events kept while the broker is away; the oldest are lost first.
    pub(crate) max_pending: usize,
    /// Speak TLS.
    pub(crate) tls: Option<MqttTls>,
    /// Answer questions about pictures that others send through the broker.
    pub(crate) fleet: Option<Fleet>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Mqtt {
            host: "127.0.0.1".into(),
            port: None,
            client_id: "pg-camera".into(),
            username: None,
            password: None,
            base_topic: "pg-camera".into(),
            discovery: true,
            discovery_prefix: "homeassistant".into(),
            keep_alive: 30,
            max_pending: 1000,
            tls: None,
            fleet: None,
        }
    }
}

/// TLS to the broker.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MqttTls {
    /// PEM file with the authority that signed the broker's certificate.
    pub(crate) ca: PathBuf,
    /// PEM file with this client's certificate, if the broker wants one.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub(crate) key: Option<PathBuf>,
}

/// A share in the work of a group of machines.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    /// Machines of the same group share the pictures among them.
    pub(crate) group: String,
    /// Where the pictures come from, such as `pictures/+`.
    pub(crate) topic: String,
    /// What to ask about pictures that bring no prompt with them.
    #[serde(default = "caption")]
    pub(crate) prompt: String,
}

fn caption() -> String {
    "caption en".into()
}

/// JPEG pictures of events, each with its event in a JSON file beside it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshots {
    pub(crate) folder: PathBuf,
    /// Bytes that the folder may take, such as "500M"; the oldest go first.
    #[serde(default = "half_a_gigabyte")]
    pub(crate) max_size: String,
    /// Days after which they go, as the wall clock counts them at the start and the steady clock from then on: a clock that
    /// is set meanwhile removes nothing.
    #[serde(default = "two_weeks")]
    pub(crate) max_days: f64,
    /// JPEG quality, 1 to 100.
    #[serde(default = "good_quality")]
    pub(crate) quality: u8,
}

fn half_a_gigabyte() -> String {
    "500M".into()
}

fn two_weeks() -> f64 {
    14.0
}

fn good_quality() -> u8 {
    85
}

/// A display of the board.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Display {
    /// A framebuffer such as `/dev/fb0`, or a panel on a bus, such as `st7789:/dev/spidev0.0?dc=gpiochip0/25`.
    pub(crate) device: String,
    /// Show only this camera; the one with the newest event if left out.
    pub(crate) camera: Option<String>,
}

impl Mqtt {
    /// Whether it is called as every `pg-camera` is whose configuration says nothing else.
    pub(crate) fn has_usual_names(&self) -> bool {
        let usual = Mqtt::default();
        self.base_topic == usual.base_topic || self.client_id == usual.client_id
    }

    /// The broker's port.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls.is_some() { 8883 } else { 1883 })
    }
}

impl Config {
    /// Names of the sections, cameras aside, in which `other` differs: those are read only when the program starts.
    pub(crate) fn sections_that_need_a_restart(&self, other: &Config) -> Vec<&'static str> {
        let same = [
            ("model", self.model == other.model),
            ("runtime", self.runtime == other.runtime),
            ("heat", self.heat == other.heat),
            ("output", self.output == other.output),
            ("http", self.http == other.http),
            ("mqtt", self.mqtt == other.mqtt),
            ("snapshots", self.snapshots == other.snapshots),
            ("webhook", self.webhooks == other.webhooks),
            ("display", self.display == other.display),
        ];
        same.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
    }
}
