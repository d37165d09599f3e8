// What `run-page` does in the browser. Arguments: address, token, browser, folder for screenshots (may be empty). Says
// "restart" when the program is to be restarted, and reads a line when that is done.
"use strict";
const { chromium } = require("playwright-core");
const readline = require("node:readline");

const [url, token, executablePath, folder] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function check(isSo, what) {
  if (!isSo) throw new Error(what);
}

async function shot(page, name) {
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
}

// Every line of a box must be painted where the box is, in pixels of the picture, and the canvas must lie on the picture.
async function checkBoxes(page, picture, canvas, event) {
  const seen = await page.evaluate(([picture, canvas, event]) => {
    const [image, over] = [document.querySelector(picture), document.querySelector(canvas)];
    const [i, c] = [image.getBoundingClientRect(), over.getBoundingClientRect()];
    const { naturalWidth: w, naturalHeight: h } = image;
    const scale = Math.min(i.width / w, i.height / h);
    const expected = [i.left + (i.width - w * scale) / 2, i.top + (i.height - h * scale) / 2, w * scale, h * scale];
    const off = Math.max(...[c.left, c.top, c.width, c.height].map((v, k) => Math.abs(v - expected[k])));
    const context = over.getContext("2d");
    const alpha = (x, y) => context.getImageData(x, y, 1, 1).data[3];
    const wrong = [];
    for (const { label, box_px: [x0, y0, x1, y1] } of event.objects) {
      const [x, y] = [Math.floor((x0 + x1) / 2), Math.floor((y0 + y1) / 2)];
      const on = [[x0, y], [x1 - 1, y], [x, y0], [x, y1 - 1]];
      for (const [px, py] of on) if (alpha(px, py) < 250) wrong.push(`${label}: nothing at ${px},${py}`);
      // Far enough inside, nothing hides the object.
      const alone = event.objects.every((o) => o.box_px[0] === x0 || x < o.box_px[0] || x > o.box_px[2] || y < o.box_px[1] || y > o.box_px[3]);
      if (alone && x1 - x0 > 12 && y1 - y0 > 30 && alpha(x, y) !== 0) wrong.push(`${label}: painted over at ${x},${y}`);
    }
    return { off, size: [over.width, over.height], natural: [w, h], wrong, n: event.objects.length };
  }, [picture, canvas, event]);
  check(seen.off < 0.1, `${canvas} is ${seen.off} pixels beside ${picture}`);
  check(String(seen.size) === String(seen.natural), `${canvas} has ${seen.size} pixels, the picture ${seen.natural}`);
  check(seen.wrong.length === 0, seen.wrong.join("; "));
  return seen;
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, colorScheme: "light" });
  const page = await context.newPage();
  page.setDefaultTimeout(60000);
  const hosts = new Set();
  const complaints = [];
  page.on("request", (request) => hosts.add(new URL(request.url()).host || "in the page"));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => { complaints.push(`dialog ${dialog.message()}`); dialog.dismiss(); });

  await page.goto(url);
  await page.fill("#token", "not the token");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#login-error").textContent);
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#main:not([hidden])");
  check(await page.evaluate(() => document.cookie) === "", "scripts see the cookie");
  console.log("page: a wrong token is refused, the right one signs in, scripts see no cookie");

  await page.waitForFunction(() => document.querySelector("#live").naturalWidth === 320 && !document.querySelector("#live").hidden);
  await page.evaluate(() => {
    window.seen = new Set();
    new MutationObserver(() => {
      const caption = document.querySelector("#caption");
      if (caption.classList.contains("writing")) window.seen.add(caption.textContent);
    }).observe(document.querySelector("#caption"), { childList: true, attributes: true });
  });
  await page.waitForFunction(() => window.seen.size >= 3);
  await page.waitForFunction(() => document.querySelectorAll("#objects li").length > 0);
  console.log("page: live pictures, a caption that grows while it is written, names of objects");

  // Pictures change: two screenshots of the same place differ.
  const live = page.locator("#live");
  const before = await live.screenshot();
  let moved = false;
  for (let i = 0; i < 40 && !moved; i++) moved = !before.equals(await live.screenshot());
  check(moved, "the live picture stands still");

  await page.waitForFunction(() => document.querySelectorAll("#events li").length > 4);
  await shot(page, "page-light");
  for (const size of [{ width: 1400, height: 900 }, { width: 1400, height: 420 }, { width: 700, height: 900 }]) {
    await page.setViewportSize(size);
    const event = await page.evaluate(() => {
      const known = state.boxes.get(state.selected);
      // Nothing newer while it is looked at.
      state.boxes.get = () => known;
      known.at = Date.now();
      drawBoxes();
      return known;
    });
    check(event.objects.length > 0, "no objects");
    const { n, off } = await checkBoxes(page, "#live", "#boxes", event);
    console.log(`page: ${n} boxes on the live picture in a window of ${size.width} x ${size.height}, off by ${off.toFixed(2)} pixels`);
    await page.evaluate(() => { delete state.boxes.get; });
  }
  await page.setViewportSize({ width: 1400, height: 900 });

  await page.check("#seen");
  await page.waitForFunction(() => document.querySelector("#live").src.includes("/picture.jpg"));
  // The boxes on the page belong to the picture on the page, at whatever moment it is looked at.
  const fits = await page.evaluate(async () => {
    const now = () => [document.querySelector("#live").src, state.boxes.get(state.selected)];
    await new Promise((resolve) => document.querySelector("#live").addEventListener("load", () => setTimeout(resolve), { once: true }));
    const [src, { event }] = now();
    return src.includes(`/events/${event.seq}/`);
  });
  check(fits, "boxes of another picture");
  await page.uncheck("#seen");
  await page.waitForFunction(() => document.querySelector("#live").src.includes("stream.mjpeg"));
  console.log("page: the picture that the model saw, with its own boxes");

  const item = page.locator("#events button", { hasText: "detect" }).first();
  await item.click();
  await page.waitForFunction(() => document.querySelector("#detail-boxes").width > 0);
  const shown = await page.evaluate(() => {
    const seq = Number(document.querySelector("#detail-numbers dd:last-child").textContent.split(",")[0]);
    return state.events.find((event) => event.seq === seq);
  });
  await checkBoxes(page, "#detail-picture", "#detail-boxes", shown);
  await shot(page, "page-event");
  await page.keyboard.press("Escape");
  console.log("page: an event with its picture and boxes");

  await page.fill("#question", "detect object");
  await page.click("#ask button");
  await page.waitForFunction(() => !document.querySelector("#ask button").disabled);
  console.log(`page: an answer to a question, ${JSON.stringify(await page.textContent("#answer"))}`);

  const evil = "<img src=x onerror=alert(1)>";
  await page.fill("#question", `detect ${evil}`);
  await page.click("#ask button");
  await page.waitForFunction(() => !document.querySelector("#ask button").disabled);
  await page.evaluate((evil) => {
    onEvent({ seq: 1e9, id: evil, camera: evil, ts: evil, kind: "caption", caption: evil, objects: [], prompt: evil }, true);
    onPartial({ camera: state.selected, prompt: evil, text: evil });
  }, evil);
  await page.locator("#events button").first().click();
  await page.keyboard.press("Escape");
  check(await page.locator("img[src=x]").count() === 0, "markup from outside became part of the page");
  console.log("page: markup from outside stays text");

  await page.uncheck("#enabled");
  await page.waitForFunction(() => document.querySelector("#state").textContent === "off");
  await page.check("#enabled");
  await page.waitForFunction(() => document.querySelector("#state").textContent === "online");
  console.log("page: the camera goes off and on");

  const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, input")].filter((control) =>
    !(control.getAttribute("aria-label") || control.textContent.trim() || control.labels?.length)).map((control) => control.outerHTML));
  check(unnamed.length === 0, `without a name for screen readers: ${unnamed}`);
  const reached = new Set();
  await page.evaluate(() => document.querySelector(".skip").focus());
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.tagName));
  }
  for (const id of ["theme", "leave", "question", "enabled", "run", "seen", "only"]) check(reached.has(id), `Tab does not reach ${id}`);
  console.log("page: every control has a name and is reached by Tab");

  complaints.splice(0, complaints.length, ...complaints.filter((text) => !/401|40\d \(|404/.test(text)));
  check(complaints.length === 0, complaints.join("; "));
  const last = await page.evaluate(() => state.events.filter((event) => event.seq < 1e9).at(-1).id.split("-")[0]);
  console.log("restart");
  await page.waitForFunction(() => document.querySelector("#link").textContent !== "live");
  check((await lines.next()).value === "restarted", "no restart");
  await page.waitForFunction((last) => state.events.some((event) => event.seq < 1e9 && event.id.split("-")[0] !== last), last);
  await page.waitForFunction(() => document.querySelector("#link").textContent === "live" && !document.querySelector("#live").hidden);
  const after = await live.screenshot();
  moved = false;
  for (let i = 0; i < 60 && !moved; i++) moved = !after.equals(await live.screenshot());
  check(moved, "the live picture stands still after the restart");
  console.log("page: goes on by itself after a restart, signed in as before");

  await page.click("#theme");
  await page.waitForFunction(() => document.querySelectorAll("#objects li").length > 0);
  await shot(page, "page-dark");
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(wide <= 0, `a phone has to scroll ${wide} pixels to the side`);
  await shot(page, "page-phone");
  await page.click("#leave");
  await page.waitForSelector("#login:not([hidden])");
  await shot(page, "page-login");
  console.log("page: light, dark, on a phone; signs out");
  check([...hosts].every((host) => host === new URL(url).host), `asked for something from ${[...hosts]}`);
  console.log(`page: asked nothing of anybody but ${[...hosts]}`);
  await browser.close();
}

main().then(() => process.exit(0), (error) => { console.log(`page: ${error.stack}`); process.exit(1); });
