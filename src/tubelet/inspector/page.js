"use strict";
// The page asks its server for plain values (api/...), and draws them over the playing video. No text of a corpus
// becomes markup: everything is put in by textContent. Start reading at `begin`, at the end.

const $ = (id) => document.getElementById(id);
const recorded = $("recorded") ? JSON.parse($("recorded").textContent) : null; // a page that was written to files
const state = { about: null, row: null, video: null, page: 0, pages: 1, rows: [], time: 0, offset: 0, panes: [], loop: false };
const player = document.createElement("video");
player.playsInline = player.muted = true;
player.preload = "auto";
const HEAT = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];
const HIDDEN = [38, 42, 54];

// Asking

async function ask(name, query) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of [].concat(value)) if (one !== null && one !== undefined && one !== "") words.append(key, one);
  }
  if (recorded) {
    const found = recorded.answers[`${name}?${words}`];
    if (found && found.error) throw new Error(found.error);
    if (!found) throw new Error("this page was written to files, and this is not among them; `tubelet inspect` computes it");
    return found;
  }
  const answer = await (await fetch(`api/${name}?${words}`)).json();
  if (answer.error) throw new Error(answer.error);
  return answer;
}

const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);
const picture = async (text) => createImageBitmap(new Blob([bytes(text)]));

function bits(text, count) {
  const packed = bytes(text);
  return Uint8Array.from({ length: count }, (_, n) => (packed[n >> 3] >> (7 - (n & 7))) & 1);
}

// Small things of the page

function element(tag, words = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = words;
  if (kind) made.className = kind;
  return made;
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, words]) => {
    const option = element("option", words);
    option.value = value;
    return option;
  }));
  if (chosen !== undefined) select.value = chosen;
}

function tags(one) {
  const found = [element("span", one.split, `tag ${one.split === "train" ? "train" : one.split === "test" ? "test" : ""}`)];
  if (one.status && one.status !== "ok") found.push(element("span", one.status, "tag bad"));
  if (one.left_out) found.push(element("span", "left out", "tag bad"));
  if (one.trained_on) {
    const tag = element("span", "trained on", "tag trained");
    tag.title = one.trained_on;
    found.push(tag);
  }
  return found;
}

function entry(one, score) {
  const item = element("li");
  const image = element("img", "", "picture");
  image.alt = "";
  image.loading = "lazy";
  if (one.status === undefined || one.status === "ok") image.src = recorded ? recorded.thumbnails[one.row] || "" : `thumbnail/${one.row}`;
  const about = element("div", "", "about");
  const name = element("b", one.id);
  name.title = one.id;
  about.append(name, ...tags(one), element("span", [score, one.label].filter(Boolean).join(" · "), "fine"));
  about.append(element("p", one.status === "ok" || one.status === undefined ? one.caption || one.reason : one.reason));
  item.append(image, about);
  item.tabIndex = 0;
  item.addEventListener("click", () => open(one.row));
  item.addEventListener("keydown", (event) => { if (event.key === "Enter") open(one.row); });
  return item;
}

const soon = (work, wait = 60) => {
  let timer = 0;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => work(...values), wait); };
};

// The list

async function list(page = 0) {
  const query = { page: page || "", words: $("words").value };
  for (const name of ["split", "label", "status"]) query[name] = $(name).value;
  const found = recorded ? filtered(query) : await ask("videos", query);
  Object.assign(state, { page: found.page, pages: found.pages, rows: found.rows });
  $("rows").replaceChildren(...found.rows.map((one) => entry(one)));
  $("page").textContent = `${found.total.toLocaleString("en")} videos, page ${found.page + 1} of ${found.pages}`;
  $("before").disabled = found.page === 0;
  $("after").disabled = found.page + 1 >= found.pages;
  mark();
  return found;
}

function filtered(query) {
  const words = query.words.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = recorded.rows.filter((one) => ["split", "label", "status"].every((name) => !query[name] || one[name] === query[name]
      || (name === "status" && query.status === "left out" && one.left_out))
    && words.every((word) => `${one.id} ${one.label} ${one.caption}`.toLowerCase().includes(word)));
  return { rows, total: rows.length, page: 0, pages: 1 };
}

function mark() {
  [...$("rows").children].forEach((item, n) => item.setAttribute("aria-current", String(state.rows[n].row === state.row)));
}

async function step(by) {
  const at = state.rows.findIndex((one) => one.row === state.row) + by;
  if (at >= 0 && at < state.rows.length) return open(state.rows[at].row);
  const page = state.page + by;
  if (page < 0 || page >= state.pages) return undefined;
  const found = await list(page);
  return open(found.rows[by > 0 ? 0 : found.rows.length - 1].row);
}

// One video

async function open(row) {
  state.row = row;
  for (const pane of state.panes) pane.root.dataset.ready = "";
  mark();
  history.replaceState(null, "", `#${row}`);
  const current = $("rows").querySelector('[aria-current="true"]');
  if (current) current.scrollIntoView({ block: "nearest", inline: "nearest" });
  let video;
  try {
    video = await ask("video", { row });
  } catch (error) {
    return alarm(error.message);
  }
  if (state.row !== row) return undefined;
  state.video = video;
  $("id").textContent = video.id;
  options($("caption"), video.captions.map((one, n) => [n || "", one.source ? `${one.text} (${one.source})` : one.text]));
  $("caption").disabled = !video.captions.length || Boolean(recorded);
  for (const pane of state.panes) Object.assign(pane, { clip: null, layers: null, mask: null, rebuilt: null, sprite: null });
  alarm(video.status === "ok" ? "" : `${video.status}: ${video.reason}`);
  play(video);
  return Promise.all(state.panes.map(refresh));
}

function facts(video) {
  const words = [video.label, `${(video.end - video.start).toFixed(2)} s`, `${video.frames} frames`, `${video.fps.toFixed(2)} fps`,
    `${video.width}×${video.height}`, video.codec, video.trained_on && `trained on: ${video.trained_on}`, video.playing && video.playing.note];
  return document.createTextNode(words.filter(Boolean).join(" · "));
}

function alarm(words) {
  $("alert").hidden = !words;
  $("alert").textContent = words || "";
}

function play(video) {
  player.pause();
  const playing = video.playing;
  for (const pane of state.panes) pane.screen.hidden = !playing;
  $("facts").replaceChildren(...tags(video), facts(video));
  if (!playing) return player.removeAttribute("src");
  state.offset = playing.offset;
  state.encoded = playing.encoded;
  for (const pane of state.panes) {
    pane.screen.style.aspectRatio = `${video.width} / ${video.height}`;
    pane.screen.style.maxWidth = `max(240px, ${(58 * video.width / video.height).toFixed(2)}vh)`;
  }
  $("scrub").min = video.start;
  $("scrub").max = video.end === null ? video.start + 1 : video.end;
  const words = playing.encoded ? `?encoded=1&moment=${Math.max(playing.offset, video.start)}` : "";
  player.src = recorded ? recorded.videos[video.row] : `video/${video.row}${words}`;
  state.time = Math.max(video.start, state.offset);
  if (state.time - state.offset > 0.01) player.currentTime = state.time - state.offset;
  state.frame = undefined;
  return undefined;
}

async function instead() {
  // A file that this browser does not play after all is encoded anew, once.
  if (recorded || !state.video || !state.video.playing) return;
  if (state.encoded) return alarm("this video cannot be played, nor encoded anew");
  const row = state.row;
  try {
    const video = await ask("video", { row, encoded: 1, moment: state.time });
    if (state.row === row) { state.video = video; play(video); }
  } catch (error) {
    alarm(error.message);
  }
}

async function toClip(pane) {
  if (frameAt(pane.clip, state.time) < 0) await seek(clipSpan(pane)[0]);
}

function clipSpan(pane) {
  const place = pane.mask || pane.clip;
  if (!place) return null;
  const { times } = place;
  const last = times[times.length - 1];
  const stepped = times.length > 1 ? (last - times[0]) / (times.length - 1) : 0.04;
  return [times[0], last + Math.max(stepped, 0.02)];
}

// A pane: what is drawn over the video

function makePane(number) {
  const root = $("pane").content.cloneNode(true).firstElementChild;
  const part = (kind) => root.querySelector(`.${kind}`);
  const pane = { number, root, screen: part("screen"), over: part("over"), said: part("said"), strip: part("strip"), fields: {}, asked: 0 };
  for (const kind of ["run", "show", "kind", "masker", "ratio", "seed", "truth", "more"]) pane[kind] = part(kind);
  for (const kind of ["ratio-value", "seed-value", "of-ratio", "of-truth"]) pane[kind] = part(kind);
  pane.inputs = part("fields");
  if (number === 0) pane.screen.prepend(player);
  else {
    pane.mirror = element("canvas", "", "mirror");
    pane.screen.prepend(pane.mirror);
  }
  options(pane.run, state.about.settings.map((one, n) => [n || "", one.recipe ? `${one.name} (${one.recipe})` : one.name]));
  pane.run.hidden = state.about.settings.length < 2;
  options(pane.kind, state.about.maps.map((name) => [name, name]));
  const again = soon(() => refresh(pane));
  pane.run.addEventListener("change", () => { pane.clip = null; maskersOf(pane); again(); });
  pane.show.addEventListener("change", again);
  pane.kind.addEventListener("change", () => { pane.layers = null; again(); });
  pane.masker.addEventListener("change", () => { fieldsOf(pane); again(); });
  pane.ratio.addEventListener("input", () => {
    if (recorded) pane.ratio.value = nearest([Number(pane.ratio.dataset.own), ...recorded.ratios], Number(pane.ratio.value));
    pane["ratio-value"].textContent = pane.ratio.value;
    again();
  });
  pane.seed.addEventListener("input", () => { pane["seed-value"].textContent = pane.seed.value; again(); });
  pane.truth.addEventListener("change", again);
  pane.strip.addEventListener("click", (event) => seekBy(pane, event));
  if (recorded) pane.seed.max = recorded.seeds - 1;
  pane.again = again;
  maskersOf(pane);
  return pane;
}

function maskersOf(pane) {
  const own = state.about.settings[pane.run.value || 0].own;
  const known = state.about.maskers;
  pane.known = new Map([...(own ? [own] : []), ...known].map((one) => [one.name, one]));
  const entries = known.map((one) => [one.name, one.name]);
  const before = pane.masker.value;
  options(pane.masker, own ? [[own.name, `${own.title}, as trained`], ...entries] : entries);
  pane.masker.value = pane.known.has(before) ? before : own ? own.name : "Tube";
  const pixels = state.about.settings[pane.run.value || 0].pixels;
  for (const option of pane.show.options) if (["reconstruction", "error"].includes(option.value)) option.disabled = !pixels;
  pane.show.querySelector('[value="saliency"]').disabled = !state.about.maps.length;
  if (pane.show.selectedOptions[0].disabled) pane.show.value = "mask";
  fieldsOf(pane);
}

function fieldsOf(pane) {
  const masker = pane.known.get(pane.masker.value);
  pane.masker.title = masker.story;
  pane.fields = {};
  const ratio = masker.fields.find((one) => one.name === "ratio");
  pane["of-ratio"].hidden = !ratio;
  if (ratio) pane.ratio.value = ratio.value;
  pane.ratio.dataset.own = ratio ? ratio.value : "";
  pane["ratio-value"].textContent = ratio ? ratio.value : "";
  const others = masker.fields.filter((one) => one.name !== "ratio");
  pane.more.hidden = !others.length || Boolean(recorded);
  pane.inputs.replaceChildren(...others.flatMap((one) => {
    const label = element("span", one.name);
    const choices = one.type.includes(" | ") && !one.type.includes("None") ? one.type.split(" | ") : one.type === "bool" ? ["True", "False"] : null;
    const input = element(choices ? "select" : "input");
    if (choices) options(input, choices.map((word) => [word, word]));
    else input.type = "text";
    input.value = said(one.value);
    input.title = one.type;
    input.setAttribute("aria-label", one.name);
    input.dataset.field = one.name;
    input.addEventListener("change", () => { pane.fields[one.name] = input.value; pane.again(); });
    return [label, input, element("p", one.about, "fine")];
  }));
}

const nearest = (values, wanted) => values.reduce((best, one) => Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best);
const said = (value) => value === true ? "True" : value === false ? "False" : value === null ? "None" : Array.isArray(value) ? value.join(",") : String(value);

function asked(pane) {
  // What decides a mask. The ratio is sent only where it is not the masker's own, so that the same mask has one name.
  const fields = Object.entries(pane.fields).map(([name, value]) => `${name}=${value}`);
  if (pane.ratio.dataset.own && pane.ratio.value !== pane.ratio.dataset.own) fields.unshift(`ratio=${pane.ratio.value}`);
  const begin = $("begin").value === "0.5" ? "" : $("begin").value;
  const seed = pane.seed.value === "0" ? "" : pane.seed.value;
  return { ...words(pane), begin, masker: pane.masker.value, field: fields, seed };
}

function words(pane) {
  const text = $("text").value.trim();
  return { row: state.row, run: pane.run.value, caption: text ? "" : $("caption").value, text };
}

async function refresh(pane) {
  const number = ++pane.asked;
  if (!state.video || state.video.status !== "ok" || pane.root.hidden) {
    pane.said.textContent = "";
    return draw();
  }
  pane.wrong = "";
  pane.root.dataset.ready = "";
  const show = pane.show.value;
  for (const kind of ["kind"]) pane[kind].hidden = show !== "saliency";
  pane["of-truth"].hidden = show !== "reconstruction";
  try {
    const begin = $("begin").value === "0.5" ? "" : $("begin").value;
    if (!pane.clip || pane.clip.begin !== begin) {
      const clip = await ask("clip", { row: state.row, run: pane.run.value, begin });
      clip.begin = begin;
      clip.sprite = await picture(clip.frames);
      if (number !== pane.asked) return undefined;
      pane.clip = clip;
      if (pane.number === 0 && player.paused && show !== "video" && show !== "saliency") toClip(pane);
    }
    if (show === "saliency") {
      const found = await ask("layers", { ...words(pane), kind: pane.kind.value, moment: recorded ? "" : state.time });
      found.numbers = floats(found.values);
      const mask = await ask("mask", asked(pane)).catch(() => null); // for the time steps below; it says why when it is asked for
      if (number !== pane.asked) return undefined;
      Object.assign(pane, { layers: found, mask: mask && hiddenOf(mask), rebuilt: null });
    } else if (show === "reconstruction" || show === "error") {
      const found = await ask("reconstruction", { ...asked(pane), truth: pane.truth.checked && show === "reconstruction" ? 1 : "" });
      Object.assign(found, { sprite: await picture(found.frames), numbers: floats(found.losses) });
      if (number !== pane.asked) return undefined;
      pane.rebuilt = pane.mask = hiddenOf(found);
    } else {
      const found = await ask("mask", asked(pane));
      if (number !== pane.asked) return undefined;
      pane.mask = hiddenOf(found);
      pane.rebuilt = null;
    }
  } catch (error) {
    if (number !== pane.asked) return undefined;
    pane.wrong = error.message;
    if (show === "saliency") pane.layers = null;
    else pane.mask = pane.rebuilt = null;
  }
  pane.root.dataset.ready = show;
  return draw();
}

function hiddenOf(found) {
  found.bits = bits(found.hidden, found.grid[0] * found.grid[1] * found.grid[2]);
  return found;
}

// Drawing

function now() {
  const frame = state.frame;
  const current = player.currentTime;
  // The time of the frame that is shown, where the browser says it; a paused player may not have said it yet.
  const media = frame !== undefined && Math.abs(frame - current) < 0.2 ? frame : current;
  return media + state.offset;
}

function draw() {
  state.time = now();
  $("time").textContent = `${state.time.toFixed(3)} s`;
  if (document.activeElement !== $("scrub") || !player.paused) $("scrub").value = state.time;
  $("play").textContent = player.paused ? "play" : "pause";
  for (const pane of state.panes) if (!pane.root.hidden) drawPane(pane);
}

function fit(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [across, down] = [Math.max(Math.round(width * ratio), 1), Math.max(Math.round(height * ratio), 1)];
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.clearRect(0, 0, across, down);
  return pen;
}

function drawPane(pane) {
  const { clientWidth: width, clientHeight: height } = pane.screen;
  if (pane.mirror && player.readyState > 1) fit(pane.mirror, width, height).drawImage(player, 0, 0, pane.mirror.width, pane.mirror.height);
  const pen = fit(pane.over, width, height);
  const show = pane.show.value;
  delete pane.root.dataset.layer;
  delete pane.root.dataset.step;
  let line = "";
  if (pane.wrong) line = pane.wrong;
  else if (show === "saliency" && pane.layers) line = drawLayer(pane, pen);
  else if (show !== "video" && pane.mask) line = drawMask(pane, pen);
  pane.said.textContent = line;
  pane.said.classList.toggle("wrong", Boolean(pane.wrong));
  drawStrip(pane);
}

function layerAt(times, moment) {
  let at = 0;
  while (at + 1 < times.length && times[at + 1] <= moment + 1e-3) at += 1;
  return at;
}

function drawLayer(pane, pen) {
  const { layers } = pane;
  const outside = (layers.until !== null && state.time >= layers.until) || (layers.first > 0 && state.time < layers.times[0] - 1e-3);
  if (outside && !pane.loading && !recorded) {
    pane.loading = true;
    refresh(pane).finally(() => { pane.loading = false; });
  }
  const at = layerAt(layers.times, state.time);
  const cells = layers.rows * layers.columns;
  const small = heat(layers.numbers.subarray(at * cells, (at + 1) * cells), layers.rows, layers.columns, layers.low, layers.high);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, pen.canvas.width, pen.canvas.height);
  pane.root.dataset.layer = layers.first + at;
  const of = layers.count === null ? "" : ` of ${layers.count}`;
  return [`layer ${layers.first + at + 1}${of} (${layers.times[at].toFixed(3)} s), ${layers.low.toPrecision(2)} dark to ${layers.high.toPrecision(2)} bright`,
    layers.made, ...layers.notes].join(" · ");
}

function heat(values, rows, columns, low, high) {
  const canvas = element("canvas");
  Object.assign(canvas, { width: columns, height: rows });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(columns, rows);
  const strength = Number($("opacity").value);
  values.forEach((value, n) => {
    const share = Math.min(Math.max((value - low) / Math.max(high - low, 1e-9), 0), 1);
    image.data.set([...colour(share), 255 * strength * (0.35 + 0.5 * share)], 4 * n);
  });
  pen.putImageData(image, 0, 0);
  return canvas;
}

function colour(share) {
  const at = Math.min(share * (HEAT.length - 1), HEAT.length - 1.0001);
  const [low, high] = [HEAT[Math.floor(at)], HEAT[Math.floor(at) + 1]];
  return low.map((value, n) => value + (at % 1) * (high[n] - value));
}

function frameAt(place, moment) {
  // The clip's frame that is shown at a moment; -1 before and after the clip.
  const span = clipSpan({ mask: place });
  if (moment < span[0] - 1e-3 || moment >= span[1] + 1e-3) return -1;
  return layerAt(place.times, moment);
}

function drawMask(pane, pen) {
  const { mask } = pane;
  const [top, left, height, width] = mask.crop;
  const box = [left * pen.canvas.width, top * pen.canvas.height, width * pen.canvas.width, height * pen.canvas.height];
  pen.strokeStyle = "rgb(255 255 255 / .7)";
  if (width < 0.999 || height < 0.999) pen.strokeRect(box[0] + 0.5, box[1] + 0.5, box[2] - 1, box[3] - 1);
  const frame = frameAt(mask, state.time);
  const total = mask.bits.length;
  const words = [`${mask.hides} of ${total} tubelets hidden (${(100 * mask.hides / total).toFixed(0)} %)`];
  if (mask.loss !== undefined) words.push(`loss ${mask.loss.toFixed(3)}, R² ${mask.r2 === null ? "–" : mask.r2.toFixed(3)}`);
  if (frame < 0) words.push(`the clip is ${mask.times[0].toFixed(2)} to ${clipSpan(pane)[1].toFixed(2)} s`);
  else {
    const at = Math.floor(frame / mask.tubelet_frames);
    pane.root.dataset.step = at;
    words.push(`time step ${at + 1} of ${mask.grid[0]}`);
    const show = pane.show.value;
    if (show === "mask") hide(pen, mask, at, box, Number($("opacity").value));
    else if (show === "error") drawError(pen, mask, at, box);
    else if (mask.sprite) pen.drawImage(mask.sprite, frame * mask.size, 0, mask.size, mask.size, ...box);
  }
  if (mask.remark) words.push(mask.remark);
  return words.join(" · ");
}

function cells(mask, at, box, each) {
  const [, rows, columns] = mask.grid;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const x = Math.round(box[0] + column * box[2] / columns);
      const y = Math.round(box[1] + row * box[3] / rows);
      const right = Math.round(box[0] + (column + 1) * box[2] / columns);
      const down = Math.round(box[1] + (row + 1) * box[3] / rows);
      each((at * rows + row) * columns + column, [x, y, right - x, down - y]);
    }
  }
}

function hide(pen, mask, at, box, strength) {
  pen.fillStyle = `rgb(${HIDDEN.join(" ")} / ${strength})`;
  cells(mask, at, box, (n, cell) => { if (mask.bits[n]) pen.fillRect(...cell); });
}

function drawError(pen, mask, at, box, strength = Number($("opacity").value)) {
  const most = Math.max(2 * mask.baseline, 1e-9);
  cells(mask, at, box, (n, cell) => {
    if (!mask.bits[n]) return;
    pen.fillStyle = `rgb(${colour(Math.min(mask.numbers[n] / most, 1)).map(Math.round).join(" ")} / ${strength})`;
    pen.fillRect(...cell);
  });
}

// The time steps of a clip, below each other: frames, what is visible, what is made of it

function drawStrip(pane) {
  const { clip, mask, rebuilt } = pane;
  if (!clip) return fit(pane.strip, pane.strip.clientWidth, 1);
  const steps = clip.grid[0];
  const rows = ["frames", ...(mask ? ["visible"] : []), ...(rebuilt ? ["reconstruction", "error"] : [])];
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const side = Math.min(pane.root.clientWidth / steps, 112);
  const line = 17;
  const height = rows.length * (side + line);
  if (pane.strip.style.height !== `${height}px`) pane.strip.style.height = `${height}px`;
  const pen = fit(pane.strip, pane.root.clientWidth, height);
  const style = getComputedStyle(document.documentElement);
  pen.font = `${12 * ratio}px ${style.getPropertyValue("--sans")}`;
  const current = frameAt(clip, state.time);
  rows.forEach((kind, n) => {
    const y = n * (side + line) * ratio;
    pen.fillStyle = style.getPropertyValue("--muted");
    pen.fillText(kind, 0, y + 12 * ratio);
    for (let at = 0; at < steps; at += 1) {
      const box = [at * side, y / ratio + line, side - 2, side - 2].map((value) => value * ratio);
      const frame = at * clip.tubelet_frames;
      const source = kind === "reconstruction" ? rebuilt.sprite : clip.sprite;
      pen.drawImage(source, frame * clip.size, 0, clip.size, clip.size, ...box);
      if (kind === "visible") hide(pen, mask, at, box, 0.94);
      if (kind === "error") drawError(pen, rebuilt, at, box, 0.9);
      if (current >= 0 && Math.floor(current / clip.tubelet_frames) === at) {
        pen.strokeStyle = style.getPropertyValue("--accent");
        pen.lineWidth = 2 * ratio;
        pen.strokeRect(box[0] + ratio, box[1] + ratio, box[2] - 2 * ratio, box[3] - 2 * ratio);
      }
    }
  });
  return undefined;
}

function seekBy(pane, event) {
  if (!pane.clip) return;
  const side = Math.min(pane.root.clientWidth / pane.clip.grid[0], 112);
  const at = Math.min(Math.floor(event.offsetX / side), pane.clip.grid[0] - 1);
  seek(pane.clip.times[at * pane.clip.tubelet_frames]);
}

async function seek(moment) {
  // Of a long video that is encoded in parts, to the part with this moment.
  const { row } = state;
  const beyond = moment < state.offset - 1e-3 || (player.duration && moment > state.offset + player.duration + 1e-3);
  if (state.encoded && beyond && !recorded) {
    const video = await ask("video", { row, encoded: 1, moment });
    if (state.row !== row) return;
    const other = video.playing.offset !== state.offset;
    state.video = video;
    if (other) play(video);
  }
  player.currentTime = Math.max(moment - state.offset + 1e-3, 0);
}

// Nearest clips

async function near(query, number = (state.searches = (state.searches || 0) + 1)) {
  const run = state.panes[0].run.value;
  try {
    const found = await ask("near", { run, ...query, split: recorded ? "" : $("within").value });
    if (number !== state.searches) return;
    if (found.working) {
      const [done, total] = found.working;
      $("found").textContent = total ? `features of ${done} of ${total} clips` : "reading the run";
      setTimeout(() => near(query, number), 400);
      return;
    }
    $("found").textContent = [`nearest to ${found.asked.replace(/^like /, "")}`, ...found.notes].join(" · ");
    $("hits").replaceChildren(...found.hits.map((one) => entry(one, one.score.toFixed(3))));
  } catch (error) {
    $("found").textContent = error.message;
    $("hits").replaceChildren();
  }
}

// Keys

function toggle(button, on = button.getAttribute("aria-pressed") !== "true") {
  button.setAttribute("aria-pressed", String(on));
  return on;
}

function compare() {
  const two = toggle($("compare"));
  state.panes[1].root.hidden = !two;
  $("panes").classList.toggle("two", two);
  const [first, second] = state.panes;
  if (two && !second.chosen) { // another run where there is one, else another masker
    second.chosen = true;
    second.show.value = first.show.value;
    if (state.about.settings.length > 1) second.run.value = "1";
    maskersOf(second);
    if (state.about.settings.length < 2) second.masker.value = first.masker.value === "Tube" ? "Random" : "Tube";
    fieldsOf(second);
  }
  state.panes.forEach(refresh);
}

function loopClip() {
  state.loop = toggle($("loop"));
  const span = clipSpan(state.panes[0]);
  if (state.loop && span) { seek(span[0]); player.play(); }
}

function nudge(input, by) {
  let value = Number(input.value) + by;
  if (recorded && "own" in input.dataset) { // the next one that was written
    const beyond = [Number(input.dataset.own), ...recorded.ratios].filter((one) => (one - Number(input.value)) * by > 1e-9);
    value = beyond.length ? nearest(beyond, Number(input.value)) : input.value;
  }
  input.value = value;
  input.dispatchEvent(new Event("input"));
}

function theme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  draw();
}

function show(kind) {
  for (const pane of state.panes) {
    const option = pane.show.querySelector(`[value="${kind}"]`);
    if (!option.disabled) { pane.show.value = kind; refresh(pane); }
  }
}

const KEYS = {
  j: () => step(1), k: () => step(-1), " ": () => player.paused ? player.play() : player.pause(),
  ArrowRight: () => { player.pause(); seek(state.time + 1 / (state.video.fps || 25)); },
  ArrowLeft: () => { player.pause(); seek(state.time - 1 / (state.video.fps || 25)); },
  v: () => show("video"), s: () => show("saliency"), m: () => show("mask"), r: () => show("reconstruction"), e: () => show("error"),
  "[": () => nudge(state.panes[0].ratio, -0.05), "]": () => nudge(state.panes[0].ratio, 0.05), x: () => nudge(state.panes[0].seed, 1),
  c: compare, l: loopClip, n: () => $("like").click(), d: theme, "?": () => $("keys").showModal(),
  "/": () => $("words").focus(), t: () => $("text").focus(),
};

function pressed(event) {
  const typing = event.target.matches("input[type=search], input[type=text], select, textarea");
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS) || $("keys").open) return;
  if (event.target.matches("button, video") && event.key === " ") return;
  event.preventDefault();
  KEYS[event.key]();
}

// The beginning

async function begin() {
  const about = state.about = await ask("about", {});
  const runs = about.settings.filter((one) => one.run);
  $("name").textContent = runs.length ? runs.map((one) => one.name).join(" · ") : about.name;
  document.title = `${$("name").textContent} · tubelet inspect`;
  const bad = about.videos - (about.choices.status.ok || 0);
  $("counts").textContent = [runs.length && about.name, `${about.videos.toLocaleString("en")} videos`, bad && `${bad.toLocaleString("en")} not usable`].filter(Boolean).join(" · ");
  for (const name of ["split", "label", "status"]) {
    options($(name), [["", `any ${name}`], ...Object.entries(about.choices[name]).map(([value, count]) => [value, `${value} (${count})`])]);
    $(name).addEventListener("change", () => list());
  }
  options($("within"), [["", "all splits"], ...Object.keys(about.choices.split).map((value) => [value, value])]);
  $("words").addEventListener("input", soon(() => list(), 200));
  state.panes = [makePane(0), makePane(1)];
  state.panes[1].root.hidden = true;
  $("panes").replaceChildren(...state.panes.map((pane) => pane.root));
  const all = soon(() => state.panes.forEach(refresh));
  for (const id of ["begin", "caption", "text"]) $(id).addEventListener(id === "caption" ? "change" : "input", id === "text" ? soon(all, 350) : all);
  $("opacity").addEventListener("input", draw);
  $("scrub").addEventListener("input", () => { player.pause(); seek(Number($("scrub").value)); });
  $("text").disabled = !about.typed || Boolean(recorded);
  if ($("text").disabled) $("text").placeholder = recorded ? "computed by `tubelet inspect`" : "needs an aligner: `tubelet align`";
  $("near").hidden = !runs.length;
  $("query").disabled = $("bytext").disabled = !about.settings[0].text || Boolean(recorded);
  if (!about.settings[0].text) $("query").placeholder = "this run was trained without captions";
  $("begin").disabled = Boolean(recorded);
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("find").addEventListener("submit", (event) => { event.preventDefault(); if ($("query").value.trim()) near({ text: $("query").value.trim() }); });
  $("like").addEventListener("click", () => { if (runs.length) near({ row: state.row }); });
  $("before").addEventListener("click", () => list(state.page - 1));
  $("after").addEventListener("click", () => list(state.page + 1));
  $("play").addEventListener("click", KEYS[" "]);
  $("loop").addEventListener("click", loopClip);
  $("compare").addEventListener("click", compare);
  $("theme").addEventListener("click", theme);
  $("help").addEventListener("click", KEYS["?"]);
  document.addEventListener("keydown", pressed);
  window.addEventListener("resize", soon(draw));
  for (const name of ["seeked", "loadeddata", "pause", "play", "timeupdate"]) player.addEventListener(name, draw);
  player.addEventListener("error", instead);
  const frame = (_, about) => {
    state.frame = about.mediaTime;
    const span = state.loop && clipSpan(state.panes[0]);
    if (span && (about.mediaTime + state.offset >= span[1] - 1e-3 || about.mediaTime + state.offset < span[0] - 0.05)) seek(span[0]);
    draw();
    player.requestVideoFrameCallback(frame);
  };
  if (player.requestVideoFrameCallback) player.requestVideoFrameCallback(frame);
  const found = await list();
  const named = location.hash.slice(1);
  const row = /^\d+$/.test(named) && Number(named) < about.videos ? Number(named) : found.rows.length ? found.rows[0].row : null;
  if (row !== null) await open(row);
  document.documentElement.dataset.ready = "1";
}

begin().catch((error) => alarm(error.message));
