// The live page. Everything from outside goes into the document as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const COLORS = ["#22c55e", "#f97316", "#38bdf8", "#e879f9", "#facc15", "#f43f5e", "#a3e635", "#818cf8"];
// Boxes are of the picture that the model saw; on newer pictures they soon mislead.
const BOXES_STAY = 15000;
const EVENTS_KEPT = 200;

const state = {
  cameras: new Map(), selected: null, system: null, source: null, retry: null, wasLost: false,
  boxes: new Map(), captions: new Map(), events: [],
};

// ---- talking to the program ----

async function api(path, options = {}) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (response.status === 401) { showLogin(); throw new Error("sign in first"); }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error(body?.error?.message ?? `${response.status} ${response.statusText}`);
  }
  return response;
}

const get = async (path) => (await api(path)).json();
const send = (method, path, body) =>
  api(path, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) });
const cameraPath = (name, rest) => `api/cameras/${encodeURIComponent(name)}/${rest}`;

// Events of a streamed answer: name and value.
async function* streamed(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      let name = "message", data = null;
      for (const line of text.slice(0, end).split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        if (line.startsWith("data: ")) data = JSON.parse(line.slice(6));
      }
      if (data !== null) yield [name, data];
    }
  }
}

// ---- the connection ----

function link(text, kind) {
  $("link").textContent = text;
  $("link").className = `badge ${kind}`;
}

function follow() {
  state.source?.close();
  clearTimeout(state.retry);
  const source = new EventSource("events");
  state.source = source;
  source.onopen = () => {
    link("live", "good");
    // The program may be another one by now: everything is asked again.
    if (state.wasLost) { state.wasLost = false; refresh(true); }
  };
  source.onmessage = (message) => onEvent(JSON.parse(message.data), true);
  source.addEventListener("partial", (message) => onPartial(JSON.parse(message.data)));
  source.onerror = () => {
    link("reconnecting", "bad");
    state.wasLost = true;
    if (source.readyState !== EventSource.CLOSED) return;
    // An answer that is no stream ends an EventSource for good; signing in may be what is missing.
    state.retry = setTimeout(begin, 2000);
  };
}

// Starts, and again until the program answers.
function begin() {
  start().catch((error) => {
    if (!$("login").hidden) return;
    link("not reachable", "bad");
    report(error);
    state.retry = setTimeout(begin, 2000);
  });
}

async function refresh(restartPicture) {
  const { cameras } = await get("api/cameras");
  state.cameras = new Map(cameras.map((camera) => [camera.name, camera]));
  if (!state.cameras.has(state.selected)) { state.selected = cameras[0]?.name ?? null; restartPicture = true; }
  showCameras();
  if (restartPicture) { showLive(); showThumbnails(); }
}

async function start() {
  state.system = await get("api/system");
  $("login").hidden = true;
  $("main").hidden = false;
  const { model, version, may_change, has_tokens } = state.system;
  $("model").textContent = `${model.name} · ${model.quant} · ${model.res} px · ${version}`;
  $("leave").hidden = !has_tokens;
  for (const id of ["enabled", "run"]) $(id).disabled = !may_change;
  const { events } = await get("api/events?limit=60");
  state.events = [];
  $("events").replaceChildren();
  events.forEach((event) => onEvent(event, false));
  await refresh(true);
  follow();
}

// ---- signing in ----

function showLogin() {
  state.source?.close();
  $("main").hidden = true;
  $("login").hidden = false;
  $("live").removeAttribute("src");
  link("signed out", "bad");
  $("token").focus();
}

$("login").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  $("login-error").textContent = "";
  const response = await fetch("login", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token: $("token").value }),
  });
  if (!response.ok) {
    $("login-error").textContent = "That is no token of this program.";
    return;
  }
  $("token").value = "";
  begin();
});

$("leave").addEventListener("click", async () => {
  await fetch("logout", { method: "POST" });
  showLogin();
});

// ---- the picture and its boxes ----

function showLive() {
  const live = $("live");
  const name = state.selected;
  $("name").textContent = name ?? "no camera";
  live.alt = name ? `Live picture of camera ${name}` : "";
  if (!name) { live.hidden = true; return; }
  // Live, boxes are a look behind; beside what the model saw they fit.
  const known = state.boxes.get(name);
  const isSeen = $("seen").checked && known;
  live.src = isSeen ? picturePath(known.event) : `${encodeURIComponent(name)}/stream.mjpeg?${Date.now()}`;
  if (!isSeen) drawBoxes();
  showCaption();
}

$("live").addEventListener("load", () => { $("live").hidden = false; drawBoxes(); });
$("live").addEventListener("error", () => {
  const { src } = $("live");
  $("live").hidden = true;
  // Another camera may have been chosen meanwhile, whose picture comes.
  setTimeout(() => { if ($("live").src === src && state.selected) showLive(); }, 3000);
});

// Scores are left to the details: how high they are differs more from model to model than from box to box.
const colorOf = (label) => {
  let sum = 0;
  for (const letter of label) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return COLORS[sum % COLORS.length];
};

// Lays the canvas over the picture itself, without the bars beside it, one canvas pixel for each of its pixels.
function cover(canvas, image) {
  const { naturalWidth: width, naturalHeight: height } = image;
  if (!width || image.hidden) { canvas.width = 0; return null; }
  const [on, stage] = [image.getBoundingClientRect(), image.parentElement.getBoundingClientRect()];
  const scale = Math.min(on.width / width, on.height / height);
  const left = on.left - stage.left + (on.width - width * scale) / 2;
  const top = on.top - stage.top + (on.height - height * scale) / 2;
  canvas.width = width;
  canvas.height = height;
  Object.assign(canvas.style, {
    left: `${left}px`, top: `${top}px`, width: `${width * scale}px`, height: `${height * scale}px`,
  });
  return { context: canvas.getContext("2d"), unit: 1 / scale };
}

function paint(canvas, image, objects, frame) {
  const on = cover(canvas, image);
  if (!on) return;
  const { context, unit } = on;
  const [scaleX, scaleY] = [canvas.width / frame.w, canvas.height / frame.h];
  context.lineJoin = "round";
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const { label, box_px: [x0, y0, x1, y1] } of objects) {
    const [x, y, w, h] = [x0 * scaleX, y0 * scaleY, (x1 - x0) * scaleX, (y1 - y0) * scaleY];
    const line = Math.max(2 * unit, 1);
    context.strokeStyle = context.fillStyle = colorOf(label);
    context.lineWidth = line;
    context.strokeRect(x + line / 2, y + line / 2, w - line, h - line);
    const [width, height] = [context.measureText(label).width + 10 * unit, 20 * unit];
    const [tagX, tagY] = [Math.min(x, Math.max(0, canvas.width - width)), y >= height ? y - height : y];
    context.fillRect(tagX, tagY, width, height);
    context.fillStyle = "#06110f";
    context.fillText(label, tagX + 5 * unit, tagY + height / 2 + unit);
  }
}

function drawBoxes() {
  const known = state.boxes.get(state.selected);
  const fresh = known && ($("seen").checked || Date.now() - known.at < BOXES_STAY) ? known : null;
  const first = fresh ?? { objects: [], frame: { w: 1, h: 1 } };
  paint($("boxes"), $("live"), first.objects, first.frame);
  const chips = first.objects.map(({ label }) => {
    const [chip, color] = ["li", "i"].map((tag) => document.createElement(tag));
    color.style.background = colorOf(label);
    chip.append(color, label);
    return chip;
  });
  $("objects").replaceChildren(...chips);
}

new ResizeObserver(drawBoxes).observe($("stage"));
setInterval(drawBoxes, 1000);

function showCaption() {
  const caption = state.captions.get(state.selected);
  $("caption").textContent = caption?.text ?? "";
  $("caption").classList.toggle("writing", Boolean(caption?.writing));
}

// ---- what happens ----

function onPartial({ camera, prompt, text }) {
  if (/^(detect|segment)\b/.test(prompt)) return;
  state.captions.set(camera, { text, writing: true });
  if (camera === state.selected) showCaption();
}

function onEvent(event, isNew) {
  if (state.events.some((known) => known.id === event.id && known.seq === event.seq)) return;
  state.events.push(event);
  if (event.kind === "detect") {
    const at = isNew ? Date.now() : Date.parse(event.ts);
    state.boxes.set(event.camera, { objects: event.objects, frame: event.frame, at, event });
    // With another picture its boxes are drawn once it is there.
    if (event.camera === state.selected && isNew && $("seen").checked) showLive();
    else if (event.camera === state.selected) drawBoxes();
  } else if (event.caption) {
    state.captions.set(event.camera, { text: event.caption, writing: false });
    if (event.camera === state.selected) showCaption();
  }
  if (state.events.length > EVENTS_KEPT) {
    state.events.shift();
    $("events").lastElementChild?.remove();
  }
  $("events").prepend(entry(event));
}

function words(event) {
  switch (event.kind) {
    case "detect": return event.objects.map((o) => o.label).join(", ") || "nothing found";
    case "motion": return event.motion?.active ? "something moves" : "nothing moves any more";
    case "unchanged": return "as before";
    case "error": return event.error ?? "error";
    default: return event.caption ?? "";
  }
}

const hasPicture = (event) => ["detect", "caption", "answer", "unchanged"].includes(event.kind);
const picturePath = (event) => `api/events/${event.seq}/picture.jpg?${encodeURIComponent(event.id)}`;

function entry(event) {
  const [item, button, text, what, when] = ["li", "button", "span", "strong", "small"].map((tag) => document.createElement(tag));
  item.dataset.camera = event.camera;
  item.hidden = $("only").checked && event.camera !== state.selected;
  button.type = "button";
  what.textContent = words(event);
  when.textContent = `${event.camera} · ${event.kind} · ${new Date(event.ts).toLocaleTimeString()}`;
  text.append(what, when);
  const none = document.createElement("span");
  none.className = "none";
  none.setAttribute("aria-hidden", "true");
  none.textContent = event.kind === "motion" ? "〰" : "·";
  if (hasPicture(event)) {
    const picture = document.createElement("img");
    picture.loading = "lazy";
    picture.alt = "";
    // Pictures of older events are gone.
    picture.onerror = () => picture.replaceWith(none);
    picture.src = picturePath(event);
    button.append(picture, text);
  } else {
    button.append(none, text);
  }
  button.addEventListener("click", () => showDetail(event));
  item.append(button);
  return item;
}

function showDetail(event) {
  $("detail-title").textContent = `${event.camera} · ${event.kind} · ${new Date(event.ts).toLocaleString()}`;
  $("detail-words").textContent = words(event);
  const picture = $("detail-picture");
  picture.alt = words(event);
  picture.hidden = !hasPicture(event);
  if (hasPicture(event)) picture.src = picturePath(event);
  const t = event.timing;
  const rows = [
    ["Prompt", event.prompt],
    ["Objects", event.objects.map((o) => `${o.label} ${Math.round(o.score * 100)} %`).join(", ")],
    ["Zones", [...new Set(event.objects.flatMap((o) => o.zones))].join(", ")],
    ["Time", t && `${Math.round(t.resize_ms + t.vision_ms + t.prefill_ms + t.decode_ms)} ms, ${t.tokens} tokens, picture ${Math.round(t.age_ms)} ms old`],
    ["Event", `${event.seq}, ${event.id}`],
  ].filter(([, value]) => value);
  $("detail-numbers").replaceChildren(...rows.flatMap(([key, value]) => {
    const [name, text] = [document.createElement("dt"), document.createElement("dd")];
    name.textContent = key;
    text.textContent = value;
    return [name, text];
  }));
  $("detail-boxes").width = 0;
  picture.onload = () => event.frame && paint($("detail-boxes"), picture, event.objects, event.frame);
  $("detail").showModal();
}
$("close").addEventListener("click", () => $("detail").close());
$("only").addEventListener("change", () => {
  for (const item of $("events").children) item.hidden = $("only").checked && item.dataset.camera !== state.selected;
});

// ---- cameras ----

function showCameras() {
  const camera = state.cameras.get(state.selected);
  $("state").textContent = camera?.status ?? "";
  $("blank").textContent = !camera ? "no camera is configured" : camera.enabled
    ? (camera.reason ?? `camera is ${camera.status}`) : "camera is switched off";
  $("enabled").checked = Boolean(camera?.enabled);
  const f = camera?.frames;
  $("numbers").textContent = f ? `${f.used} looked at, ${f.gated} without motion, ${f.dropped} dropped` : "";
  const nav = $("cameras");
  if (state.cameras.size < 2) { nav.replaceChildren(); return; }
  const known = new Map([...nav.children].map((button) => [button.dataset.name, button]));
  nav.replaceChildren(...[...state.cameras.values()].map((one) => known.get(one.name) ?? tile(one.name)));
  for (const button of nav.children) {
    const one = state.cameras.get(button.dataset.name);
    button.setAttribute("aria-current", String(one.name === state.selected));
    button.querySelector("small").textContent = one.status;
  }
}

function tile(name) {
  const [button, picture, text, title, status] = ["button", "img", "span", "b", "small"].map((tag) => document.createElement(tag));
  button.type = "button";
  button.dataset.name = name;
  picture.alt = "";
  title.textContent = name;
  text.append(title, status);
  button.append(picture, text);
  button.addEventListener("click", () => { state.selected = name; showCameras(); showLive(); $("only").dispatchEvent(new Event("change")); });
  return button;
}

// Browsers allow few connections: one camera is shown live, the others every few seconds.
function showThumbnails() {
  for (const button of $("cameras").children) {
    const picture = button.querySelector("img");
    const { status, name } = state.cameras.get(button.dataset.name) ?? {};
    if (status === "online" && (name !== state.selected || !picture.src)) {
      picture.src = `${cameraPath(name, "snapshot.jpg")}?${Date.now()}`;
    }
  }
}
setInterval(() => {
  if (document.hidden || $("main").hidden) return;
  refresh(false).catch(() => {});
  showThumbnails();
}, 4000);

$("enabled").addEventListener("change", async () => {
  try {
    await send("PUT", cameraPath(state.selected, "config"), { enabled: $("enabled").checked });
  } catch (error) { report(error); }
  await refresh(true).catch(report);
});
$("seen").addEventListener("change", showLive);
$("run").addEventListener("click", () => send("POST", cameraPath(state.selected, "run")).catch(report));

$("ask").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const button = $("ask").querySelector("button");
  button.disabled = true;
  $("answer").textContent = "…";
  try {
    const body = { question: $("question").value, stream: true };
    for await (const [name, data] of streamed(await send("POST", cameraPath(state.selected, "ask"), body))) {
      if (name === "failed") throw new Error(data.error.message);
      if (name === "partial") $("answer").textContent = data.text.replace(/<(loc|seg)\d+>/g, "");
      if (name === "done") {
        const found = data.objects.map((o) => o.label).join(", ") || "nothing found";
        $("answer").textContent = data.kind === "detect" ? found : data.caption;
      }
    }
  } catch (error) { report(error); }
  button.disabled = false;
});

function report(error) { $("answer").textContent = error.message; }

// ---- light and dark ----

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "☀" : "☾";
}
let chosen = null;
try { chosen = localStorage.getItem("theme"); } catch { /* private windows may keep nothing */ }
theme(chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("theme").addEventListener("click", () => {
  theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* as above */ }
});

begin();
