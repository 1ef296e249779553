// The review page. No framework and no network: data.js calls EARMARK.open, tiles of scores call
// EARMARK.scores, for a page that is opened as a file may load scripts, and fetch nothing.
"use strict";
const EARMARK = (() => {
  const $ = id => document.getElementById(id);
  const KEY = "earmark-review:", STEP = 0.05, FINE = 0.01, LEAST = 0.01, PAD = 0.3;
  const SIGNS = { accepted: "✓", rejected: "✗", undecided: "·" };
  // Okabe and Ito's colours, which the colour-blind tell apart; with a shade for each ground.
  const LIGHT = ["#0072b2", "#c24e00", "#007f5f", "#a8487f", "#96690a", "#2f86b8", "#6a6a00", "#555b66"];
  const DARK = ["#4fb0ea", "#f08a3c", "#2fc49a", "#e49ac4", "#e6b024", "#8fd0f5", "#e6e05a", "#b9bec9"];
  let page, rec, audio;
  let view = { start: 0, span: 10 };  // seconds
  let cursor = 0, range = null, selected = null, looping = false, stopAt = null, piece = -1;
  let events = new Map(), changes = new Map(), complete = new Set(), done = [], undone = [];
  let items = [], rows = [], layout = {}, drag = null, pointers = new Map(), dirty = false;
  const images = new Map(), scoreTiles = new Map(), loading = new Set();
  const api = { files: null, open, scores: (name, text) => keepScores(name, text) };

  // ---- What is known, and what the reviewer changed ----------------------------------------------

  function open(content) {
    page = content;
    audio = $("audio");
    page.recordings.forEach((one, r) => {
      one.found.forEach(([on, off, label, score, error], n) =>
        put({ id: `${r}f${n}`, rec: r, on, off, label, score, error, source: "found" }));
      (one.truth || []).forEach(([on, off, label, missed], n) => {
        if (missed) put({ id: `${r}t${n}`, rec: r, on, off, label, score: null, error: "miss", source: "missed" });
      });
    });
    restore();
    listen();
    fillChoices();
    const saved = stored()?.place;
    show(page.recordings[saved?.rec] ? saved.rec : 0);
    if (saved && events.has(saved.selected) && get(saved.selected).rec === rec) select(saved.selected, false);
  }

  const put = event => events.set(event.id, event);

  /** An event as it stands: found, with what was changed. */
  function get(id) {
    const change = changes.get(id), base = events.get(id) || change?.added;
    return base && { status: "undecided", ...base, ...change, was: base };
  }

  let cached = null;
  function all() {
    if (!cached) {
      const added = [...changes].filter(([id, change]) => change.added && !events.has(id)).map(([id]) => id);
      cached = [...events.keys(), ...added].map(get);
    }
    return cached;
  }

  function setChange(id, after) {
    if (after && Object.keys(after).length) changes.set(id, after); else changes.delete(id);
    cached = null;
  }

  /** Do something that can be undone: [[id, change after], …]. */
  function act(text, pairs) {
    const step = { text, changes: pairs.map(([id, after]) => [id, changes.get(id), after]) };
    apply(step, 2);
    done.push(step);
    undone = [];
    refresh();
    save();
  }

  function apply(step, which) {
    for (const change of step.changes) setChange(change[0], change[which]);
  }

  function back(from, to, which, word) {
    const step = from.pop();
    if (!step) return say(`nothing to ${word}`);
    apply(step, which);
    to.push(step);
    const id = step.changes[0][0], event = get(id);
    if (event && event.rec !== rec) show(event.rec);
    refresh();
    select(event ? id : null, false);
    save();
    say(`${word}: ${step.text}`);
  }
  const undo = () => back(done, undone, 1, "undo");
  const redo = () => back(undone, done, 2, "redo");

  function change(id, text, more) {
    const before = changes.get(id) || {};
    act(text, [[id, tidy(id, { ...before, ...more })]]);
  }

  /** A change without what is as it was found; none if nothing is left. */
  function tidy(id, after) {
    const base = events.get(id);
    for (const name of ["on", "off", "label"]) if (base && after[name] === base[name]) delete after[name];
    if (after.status === "undecided" && !after.added) delete after.status;
    return Object.keys(after).length ? after : undefined;
  }

  // ---- Kept in the browser -----------------------------------------------------------------------

  function stored() {
    try {
      return JSON.parse(localStorage.getItem(KEY + page.digest));
    } catch {
      return null;
    }
  }

  function save() {
    const place = { rec, selected };
    const content = { changes: [...changes], complete: [...complete], reviewer: $("reviewer").value, place };
    try {
      localStorage.setItem(KEY + page.digest, JSON.stringify(content));
    } catch {
      say("this browser keeps nothing: export a review file before you close the page");
    }
  }

  function restore() {
    const kept = stored();
    if (!kept) return;
    changes = new Map(kept.changes.filter(([id, one]) => events.has(id) || one.added));
    cached = null;
    complete = new Set(kept.complete);
    $("reviewer").value = kept.reviewer || "";
  }

  // ---- Time, colours, words ----------------------------------------------------------------------

  function time(seconds, digits = 1) {
    const unit = 10 ** digits, whole = Math.round(Math.max(0, seconds) * unit);
    const s = Math.floor(whole / unit), rest = String(whole % unit).padStart(digits, "0");
    const clock = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60].map((n, i) => i ? String(n).padStart(2, "0") : n);
    return clock.join(":") + (digits ? `.${rest}` : "");
  }

  /** Seconds of h:mm:ss.s, m:ss or s; NaN for what is none. */
  function seconds(text) {
    const parts = text.trim().replace(",", ".").split(":");
    if (parts.length > 3 || parts.some(one => !/^\d+(\.\d*)?$/.test(one))) return NaN;
    return parts.reduce((sum, one) => 60 * sum + Number(one), 0);
  }

  const round = value => Math.round(value * 1e6) / 1e6;
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const recording = () => page.recordings[rec];
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const ink = () => dark()
    ? { ground: "#1d2027", line: "#363b46", text: "#e8eaef", soft: "#a7afbd", accent: "#7db8f5", pill: "rgba(29,32,39,.82)" }
    : { ground: "#ffffff", line: "#d5d9e0", text: "#1b1f27", soft: "#545c6b", accent: "#0b5cad", pill: "rgba(255,255,255,.86)" };

  function colour(label) {
    const known = page.labels.indexOf(label), shades = dark() ? DARK : LIGHT;
    if (known >= 0) return shades[known % shades.length];
    let sum = 0;
    for (const sign of label) sum = (31 * sum + sign.codePointAt(0)) % 9973;
    return shades[sum % shades.length];
  }

  let sayTimer;
  function say(text) {
    $("status").textContent = text;
    clearTimeout(sayTimer);
    sayTimer = setTimeout(() => { $("status").textContent = ""; }, 4000);
  }

  function element(tag, className, text) {
    const one = document.createElement(tag);
    if (className) one.className = className;
    if (text !== undefined) one.textContent = text;
    return one;
  }

  // ---- Files: beside the page, or in it ----------------------------------------------------------

  const urls = new Map();
  function url(name) {
    if (!api.files) return name;
    if (!urls.has(name)) {
      const [head, data] = api.files[name].split(","), bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
      urls.set(name, URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(";")[0] })));
    }
    return urls.get(name);
  }

  function picture(level, number, wanted = true) {
    const name = `${recording().key}/s${level}-${number}.jpg`;
    let image = images.get(name);
    if (!image && wanted) {
      image = new Image();
      image.onload = draw;
      image.src = url(name);
      images.set(name, image);
      for (const old of images.keys()) {  // the oldest first
        if (images.size <= 80) break;
        images.delete(old);
      }
    }
    return image && image.complete && image.naturalWidth ? image : null;
  }

  function tileOfScores(level, number) {
    const name = `${recording().key}/c${level}-${number}`, known = scoreTiles.get(name);
    if (known || loading.has(name)) return known;
    loading.add(name);
    if (api.files) {
      const text = api.files[name + ".js"];
      keepScores(...JSON.parse(`[${text.slice(text.indexOf("(") + 1, text.lastIndexOf(")"))}]`));
      return scoreTiles.get(name);
    }
    const script = document.createElement("script");
    script.src = name + ".js";
    script.onload = () => script.remove();
    document.head.append(script);
    return undefined;
  }

  function keepScores(name, text) {
    scoreTiles.set(name, Uint8Array.from(atob(text), one => one.charCodeAt(0)));
    loading.delete(name);
    if (scoreTiles.size > 200) scoreTiles.delete(scoreTiles.keys().next().value);
    draw();
  }

  // ---- Drawing -----------------------------------------------------------------------------------

  const width = () => layout.width;
  const x = t => (t - view.start) / view.span * width();
  const at = px => view.start + px / width() * view.span;

  function draw() {
    if (dirty) return;
    dirty = true;
    requestAnimationFrame(() => { dirty = false; if (page) paint(); });
  }

  /** A canvas of so many CSS pixels, sharp on any screen. */
  function sized(canvas, w, h) {
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
      canvas.style.height = `${h}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    return context;
  }

  function arrange() {
    const small = innerWidth <= 800, w = $("sheet").clientWidth, ruler = 24;
    const chosen = new Set();
    for (const event of all()) if (event.rec === rec) chosen.add(event.label);
    for (const one of recording().truth || []) chosen.add(one[2]);
    const tracks = recording().tracks;
    const others = $("all-classes").checked || !chosen.size ? tracks : [];
    rows = [...new Set([...tracks.filter(label => chosen.has(label)), ...chosen, ...others])];
    const chosenLabel = small && selected && get(selected).label;  // where few rows are seen, its own first
    if (chosenLabel && rows.includes(chosenLabel)) rows = [chosenLabel, ...rows.filter(label => label !== chosenLabel)];
    const room = Math.max(0, (small ? 330 : $("sheet").clientHeight) - ruler - 40 * rows.length - 4);
    const high = small ? 130 : clamp(room, 180, 420);
    layout = { width: w, ruler, picture: ruler, bottom: ruler + high, row: 40, height: ruler + high + 40 * rows.length + 2 };
  }

  function paint() {
    arrange();
    const lower = sized($("picture"), width(), layout.height), c = sized($("view"), width(), layout.height);
    paintPicture(lower, view.start, view.span, width(), layout.picture, layout.bottom - layout.picture);
    paintRows(c);
    paintRuler(c);
    paintMarks(c);
    paintOverview();
  }

  function level(rate, count, pixels) {
    const wanted = Math.floor(Math.log(rate / pixels) / Math.log(page.zoom) + 0.35);
    return clamp(wanted, 0, count - 1);
  }

  function paintPicture(c, start, span, w, top, high) {
    const rate = page.rates[0], count = recording().levels[0], pixels = w * devicePixelRatio / span;
    c.fillStyle = "#05030c";
    c.fillRect(0, top, w, high);
    c.imageSmoothingQuality = "high";
    const best = level(rate, count, pixels);
    for (let n = count - 1; n >= best; n--) {  // coarse ones, where they are there, until fine ones are
      const columns = rate / page.zoom ** n, length = page.tile / columns;
      const last = Math.min(start + span, recording().seconds);
      for (let number = Math.floor(start / length); number * length < last; number++) {
        const image = picture(n, number, n === best || n === count - 1);
        if (!image) continue;
        const left = (number * length - start) / span * w;
        c.drawImage(image, left, top, image.naturalWidth / columns / span * w, high);
      }
    }
  }

  function paintRuler(c) {
    const colours = ink(), steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
    const step = steps.find(one => one / view.span * width() >= 86) || 28800;
    c.fillStyle = colours.ground;
    c.fillRect(0, 0, width(), layout.ruler);
    c.font = "12px system-ui, sans-serif";
    c.textBaseline = "middle";
    for (let n = Math.ceil(view.start / step - 1e-9); n * step <= view.start + view.span; n++) {
      const px = x(n * step);
      c.fillStyle = colours.line;
      c.fillRect(px, layout.ruler - 6, 1, 6);
      c.fillStyle = colours.soft;
      c.fillText(time(n * step, step < 0.1 ? 2 : step < 1 ? 1 : 0), px + 4, layout.ruler / 2);
    }
    const mel = hertz => Math.log10(1 + hertz / 700), low = mel(page.bands[1]), high = mel(recording().top);
    for (const hertz of [250, 1000, 2000, 4000, 8000]) {
      if (hertz > recording().top * 0.9) continue;
      const y = layout.bottom - (mel(hertz) - low) / (high - low) * (layout.bottom - layout.picture);
      c.font = "11px system-ui, sans-serif";
      const text = hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`, w = c.measureText(text).width;
      c.fillStyle = "rgba(0,0,0,.55)";
      c.fillRect(width() - w - 8, y - 7, w + 6, 14);
      c.fillStyle = "#fff";
      c.fillText(text, width() - w - 5, y);
    }
  }

  function paintRows(c) {
    const colours = ink();
    const own = all().filter(event => event.rec === rec && event.off >= view.start && event.on <= view.start + view.span);
    rows.forEach((label, n) => {
      const top = layout.bottom + n * layout.row, base = top + layout.row;
      c.fillStyle = colours.line;
      c.fillRect(0, top, width(), 1);
      paintScores(c, label, top + 10, layout.row - 10);
      for (const [on, off, name] of recording().truth || []) {
        if (name !== label || off < view.start || on > view.start + view.span) continue;
        c.fillStyle = colours.text;
        c.fillRect(x(on), top + 4, Math.max(2, x(off) - x(on)), 4);
      }
      for (const event of own) if (event.label === label) bar(c, event, base - 15, 11, colours);
    });
    c.font = "600 12px system-ui, sans-serif";
    c.textBaseline = "middle";
    rows.forEach((label, n) => {
      const top = layout.bottom + n * layout.row + 11, text = clip(c, label, width() * 0.45), w = c.measureText(text).width;
      c.fillStyle = colours.pill;
      c.beginPath();
      c.roundRect(4, top - 1, w + 24, 17, 5);
      c.fill();
      c.fillStyle = colour(label);
      c.fillRect(9, top + 3, 9, 9);
      c.fillStyle = colours.text;
      c.fillText(text, 22, top + 8);
    });
  }

  function clip(c, text, room) {
    if (c.measureText(text).width <= room) return text;
    const signs = [...text];
    while (signs.length > 1 && c.measureText(`${signs.join("")}…`).width > room) signs.pop();
    return `${signs.join("")}…`;
  }

  /** An event: filled if accepted, hatched while undecided, an outline if rejected. */
  function bar(c, event, top, high, colours) {
    const left = x(event.on), w = Math.max(3, x(event.off) - left), own = colour(event.label);
    c.lineWidth = 1.5;
    c.strokeStyle = own;
    if (event.status === "accepted") {
      c.fillStyle = own;
      c.fillRect(left, top, w, high);
    } else if (event.source === "missed") {
      c.setLineDash([4, 3]);
      c.strokeRect(left + 0.75, top + 0.75, Math.max(1.5, w - 1.5), high - 1.5);
      c.setLineDash([]);
    } else if (event.status === "rejected") {
      c.globalAlpha = 0.6;
      c.strokeRect(left + 0.75, top + 0.75, Math.max(1.5, w - 1.5), high - 1.5);
      c.beginPath();
      c.moveTo(left, top + high / 2);
      c.lineTo(left + w, top + high / 2);
      c.stroke();
      c.globalAlpha = 1;
    } else {
      c.globalAlpha = 0.55;
      c.fillStyle = own;
      c.fillRect(left, top, w, high);
      c.globalAlpha = 1;
      c.strokeRect(left + 0.75, top + 0.75, Math.max(1.5, w - 1.5), high - 1.5);
    }
    if (event.id === selected) {
      c.strokeStyle = colours.text;
      c.lineWidth = 2;
      c.strokeRect(left - 2, top - 2, w + 4, high + 4);
    }
  }

  function paintScores(c, label, top, high) {
    const row = recording().tracks.indexOf(label);
    if (row < 0) return;
    const rate = page.rates[1], count = recording().levels[1], n = level(rate, count, width() / view.span);
    const columns = rate / page.zoom ** n, total = Math.ceil(Math.ceil(recording().seconds * rate - 1e-6) / page.zoom ** n);
    c.fillStyle = colour(label);
    c.globalAlpha = 0.28;
    c.beginPath();
    c.moveTo(0, top + high);
    for (let px = 0; px <= width(); px++) {
      const first = Math.floor(at(px) * columns), last = Math.max(first + 1, Math.floor(at(px + 1) * columns));
      let peak = 0;
      for (let column = first; column < last && column < total; column++) {
        const number = Math.floor(column / page.tile), tile = tileOfScores(n, number);
        const size = Math.min(page.tile, total - number * page.tile);
        if (tile) peak = Math.max(peak, tile[row * size + column - number * page.tile]);
      }
      c.lineTo(px, top + high - peak / 255 * high);
    }
    c.lineTo(width(), top + high);
    c.fill();
    c.globalAlpha = 1;
  }

  function paintMarks(c) {
    const colours = ink(), event = selected && get(selected);
    if (range) {
      c.fillStyle = "rgba(125,184,245,.32)";
      c.fillRect(x(range[0]), layout.picture, x(range[1]) - x(range[0]), layout.height);
    }
    if (event && event.rec === rec) {
      const left = x(event.on), right = x(event.off), high = layout.bottom - layout.picture;
      c.fillStyle = "rgba(255,255,255,.13)";
      c.fillRect(left, layout.picture, right - left, high);
      for (const edge of [left, right]) {
        c.fillStyle = "#fff";
        c.fillRect(edge - 1, layout.picture, 2, high);
        c.fillStyle = colours.accent;
        c.fillRect(edge - 0.5, layout.bottom, 1, layout.height - layout.bottom);
        c.beginPath();
        c.roundRect(edge - 4, layout.picture + high / 2 - 14, 8, 28, 4);
        c.fillStyle = "#fff";
        c.fill();
      }
    }
    const px = x(cursor);
    if (px < -1 || px > width() + 1) return;
    c.fillStyle = "#ff5b4d";
    c.fillRect(px - 0.75, 0, 1.5, layout.height);
    c.beginPath();
    c.moveTo(px - 6, 0);
    c.lineTo(px + 6, 0);
    c.lineTo(px, 9);
    c.fill();
  }

  function paintOverview() {
    const canvas = $("overview"), w = canvas.clientWidth, high = innerWidth <= 800 ? 34 : 44, c = sized(canvas, w, high);
    const total = recording().seconds, px = t => t / total * w;
    paintPicture(c, 0, total, w, 0, high - 12);
    c.fillStyle = ink().ground;
    c.fillRect(0, high - 12, w, 12);
    for (const event of all()) {
      if (event.rec !== rec || event.status === "rejected") continue;
      c.fillStyle = colour(event.label);
      c.fillRect(px(event.on), high - 10, Math.max(2, px(event.off) - px(event.on)), 8);
    }
    c.fillStyle = "rgba(0,0,0,.5)";
    c.fillRect(0, 0, px(view.start), high - 12);
    c.fillRect(px(view.start + view.span), 0, w, high - 12);
    c.strokeStyle = "#fff";
    c.lineWidth = 2;
    c.strokeRect(px(view.start) + 1, 1, Math.max(4, px(view.span)) - 2, high - 14);
    c.fillStyle = "#ff5b4d";
    c.fillRect(px(cursor) - 1, 0, 2, high);
  }

  // ---- Moving about ------------------------------------------------------------------------------

  function look(start, span) {
    const total = recording().seconds;
    view.span = clamp(span, Math.min(0.5, total), total);
    view.start = clamp(start, 0, total - view.span);
    draw();
  }

  function zoom(factor, around = view.start <= cursor && cursor <= view.start + view.span ? cursor : view.start + view.span / 2) {
    const span = clamp(view.span * factor, Math.min(0.5, recording().seconds), recording().seconds);
    look(around - (around - view.start) * span / view.span, span);
  }

  function reveal(on, off) {
    const span = Math.max(view.span, Math.min(recording().seconds, (off - on) * 1.6));
    if (on < view.start || off > view.start + view.span || span !== view.span) look((on + off) / 2 - span / 2, span);
  }

  function fit() {
    const event = selected && get(selected);
    if (event) look(event.on - Math.max(1, event.off - event.on), 3 * Math.max(1, event.off - event.on));
  }

  function move(to) {
    cursor = clamp(to, 0, recording().seconds);
    $("clock").textContent = time(cursor);
    draw();
  }

  function show(number) {
    pause();
    rec = clamp(number, 0, page.recordings.length - 1);
    piece = -1;
    selected = range = null;
    $("recording").value = rec;
    $("before").disabled = rec === 0;
    $("after").disabled = rec === page.recordings.length - 1;
    $("complete").checked = complete.has(rec);
    $("sheet").scrollTop = 0;
    view = { start: 0, span: Math.min(recording().seconds, Math.max(20, Math.min(120, recording().seconds / 6))) };
    move(0);
    refresh();
  }

  // ---- Sound -------------------------------------------------------------------------------------

  const playing = () => !audio.paused;

  function load(number) {
    piece = number;
    audio.src = url(`${recording().key}/${recording().sound[number][2]}`);
    audio.playbackRate = Number($("speed").value);
  }

  /** Set the sound to a time; pieces overlap, so that what is looped is in one. */
  function seek(to) {
    const sound = recording().sound;
    let number = sound.findLastIndex(([first]) => first <= to + 1e-6);
    if (number < 0) number = 0;
    if (number !== piece) load(number);
    const inside = to - sound[number][0];
    if (audio.readyState >= 1) audio.currentTime = inside;
    else audio.addEventListener("loadedmetadata", () => { audio.currentTime = inside; }, { once: true });
  }

  function play(from, until = null) {
    stopAt = until;
    move(from);
    seek(from);
    audio.play().catch(error => {
      if (error.name !== "AbortError") say("this browser cannot play the sound: make the page with --sound mp3");
    });
  }

  function pause() {
    audio.pause();
    looping = false;
    $("loop").setAttribute("aria-pressed", "false");
  }

  function hear() {
    const event = selected && get(selected);
    if (event) play(Math.max(0, event.on - PAD), Math.min(recording().seconds, event.off + PAD));
  }

  function toggleLoop() {
    if (!selected) return;
    const wanted = !looping;
    pause();
    looping = wanted;
    $("loop").setAttribute("aria-pressed", String(looping));
    if (looping) hear();
  }

  const togglePlay = () => playing() ? pause() : play(cursor >= recording().seconds - 0.05 ? 0 : cursor);

  function tick() {
    if (page && playing() && audio.readyState >= 2 && !audio.seeking) {
      const now = recording().sound[piece][0] + audio.currentTime;
      if (looping && stopAt !== null && now >= stopAt) hear();
      else {
        move(Math.min(now, recording().seconds));
        if (stopAt !== null && now >= stopAt) pause();
        if (cursor > view.start + view.span) look(cursor - view.span * 0.05, view.span);
      }
    }
    requestAnimationFrame(tick);
  }

  function ended() {
    const last = recording().sound[piece][1];
    if (looping) hear();
    else if (last < recording().seconds - 0.01) play(last, stopAt);
    else pause();
  }

  // ---- The list ----------------------------------------------------------------------------------

  const HIGH = 52;
  const RANK = { miss: 0, confusion: 1, "false alarm": 2, "": 3, undefined: 3, hit: 4 };
  const inTime = (a, b) => a.rec - b.rec || a.on - b.on || a.off - b.off;
  const ORDERS = {
    time: inTime,
    sure: (a, b) => (b.score ?? -1) - (a.score ?? -1) || inTime(a, b),
    unsure: (a, b) => (a.score ?? 2) - (b.score ?? 2) || inTime(a, b),
    class: (a, b) => a.label.localeCompare(b.label) || inTime(a, b),
    error: (a, b) => RANK[a.error] - RANK[b.error] || (b.score ?? 2) - (a.score ?? 2) || inTime(a, b),
  };

  function refresh() {
    const whole = all(), show = $("show").value, label = $("class").value;
    // What was decided a moment ago stays where it is, until another is chosen.
    items = whole.filter(event => ($("scope").value === "all" || event.rec === rec)
      && (!label || event.label === label)
      && (!show || event.status === show || event.error === show || event.id === selected));
    items.sort(ORDERS[$("sort").value]);
    const decided = whole.filter(event => event.status !== "undecided").length;
    $("progress").value = whole.length ? decided / whole.length : 0;
    $("decided").textContent = `${decided} of ${whole.length} decided`;
    $("count").textContent = `${items.length} event${items.length === 1 ? "" : "s"} listed`;
    $("undo").disabled = !done.length;
    $("redo").disabled = !undone.length;
    paintList();
    paintDetail();
    draw();
  }

  function paintList() {
    const list = $("list"), first = Math.max(0, Math.floor(list.scrollTop / HIGH) - 4);
    const last = Math.min(items.length, first + Math.ceil((list.clientHeight || 400) / HIGH) + 9);
    const filler = element("div");
    filler.style.height = `${items.length * HIGH}px`;
    filler.setAttribute("role", "presentation");
    const shown = items.slice(first, last).map((event, n) => item(event, first + n));
    list.replaceChildren(...shown, filler);
    const active = shown.find(one => one.id === `item-${selected}`);
    if (active) list.setAttribute("aria-activedescendant", active.id); else list.removeAttribute("aria-activedescendant");
  }

  function item(event, place) {
    const one = element("div", `item ${event.status}`);
    one.id = `item-${event.id}`;
    one.style.top = `${place * HIGH}px`;
    one.setAttribute("role", "option");
    one.setAttribute("aria-selected", String(event.id === selected));
    one.setAttribute("aria-setsize", items.length);
    one.setAttribute("aria-posinset", place + 1);
    const name = element("span", "name"), swatch = element("i", "swatch"), text = element("bdi", "", event.label);
    swatch.style.background = colour(event.label);
    name.append(swatch, text);
    const sign = element("span", "sign", event.source === "added" ? "+" : SIGNS[event.status]);
    sign.title = event.source === "added" ? "added" : event.status;
    sign.setAttribute("aria-label", sign.title);
    sign.setAttribute("role", "img");
    const when = element("span", "when", `${time(event.on)} – ${time(event.off)}`);
    if ($("scope").value === "all") when.append(" · ", element("bdi", "", page.recordings[event.rec].name));
    one.append(sign, name, element("span", "score", event.score === null ? "" : event.score.toFixed(2)), when, badge(event));
    one.onclick = () => { select(event.id, true); };
    return one;
  }

  function badge(event) {
    const corrected = event.source !== "added" && ["on", "off", "label"].some(key => event[key] !== event.was[key]);
    const text = event.source === "added" ? "added" : corrected ? "corrected" : event.error || "";
    return element("span", `badge${text === event.error && text !== "hit" ? " wrong" : ""}`, text);
  }

  function select(id, aloud, keepRange = false) {
    const event = id && get(id);
    if (!event) { selected = null; return refresh(); }
    if (event.rec !== rec) show(event.rec);
    if (looping && id !== selected) pause();
    selected = id;
    if (!keepRange) range = null;
    reveal(event.on, event.off);
    if (!playing()) move(event.on);
    refresh();
    const place = items.findIndex(one => one.id === id), list = $("list");
    if (place >= 0) {
      const top = place * HIGH;
      if (top < list.scrollTop) list.scrollTop = top;
      if (top + HIGH > list.scrollTop + list.clientHeight) list.scrollTop = top + HIGH - list.clientHeight;
      paintList();
    }
    if (aloud && $("auto").checked) hear();
    save();
  }

  function step(by) {
    if (!items.length) return;
    const place = items.findIndex(event => event.id === selected);
    const next = place < 0 ? (by > 0 ? 0 : items.length - 1) : clamp(place + by, 0, items.length - 1);
    if (items[next].id !== selected) select(items[next].id, true);
  }

  function paintDetail() {
    const event = selected && get(selected);
    $("nothing").hidden = Boolean(event);
    $("event").hidden = !event;
    for (const name of ["accept", "reject", "hear", "loop"]) $(name).disabled = !event;
    if (!event) return;
    $("label").querySelector("bdi").textContent = event.label;
    $("label").querySelector("i").style.background = colour(event.label);
    $("badge").replaceWith(Object.assign(badge(event), { id: "badge" }));
    for (const [name, value] of [["onset", event.on], ["offset", event.off]]) {
      if (document.activeElement !== $(name)) $(name).value = time(value, 3);
    }
    const was = event.label !== event.was.label ? `found as ${event.was.label}` : "";
    const score = event.score === null ? "" : `score ${event.score.toFixed(2)}`;
    $("facts").textContent = [event.status, score, `${(event.off - event.on).toFixed(2)} s`, was].filter(Boolean).join(" · ");
  }

  // ---- What a reviewer does ----------------------------------------------------------------------

  function decide(status) {
    if (!selected) return say("select an event first");
    const event = get(selected), place = items.findIndex(one => one.id === selected);
    const next = items[place + 1];
    const text = `${status === "undecided" ? "reopen" : status === "accepted" ? "accept" : "reject"} ${event.label}`;
    change(selected, text, { status });
    if (status !== "undecided" && next) select(next.id, true);
  }

  function setEdge(name, value) {
    const event = selected && get(selected);
    if (!event || !Number.isFinite(value)) return paintDetail();
    const total = recording().seconds;
    const to = round(name === "on" ? clamp(value, 0, event.off - LEAST) : clamp(value, event.on + LEAST, total));
    if (to !== event[name]) change(selected, `move ${name === "on" ? "onset" : "offset"}`, { [name]: to, status: "accepted" });
    else paintDetail();
  }

  function nudge(name, by) {
    if (selected) setEdge(name, get(selected)[name] + by);
  }

  function relabel() {
    if (!selected) return say("select an event first");
    const id = selected;
    choose(get(id).label, label => change(id, `relabel ${label}`, { label, status: "accepted" }));
  }

  function add() {
    const [on, off] = range || [cursor, Math.min(recording().seconds, cursor + 1)];
    if (!(off - on >= LEAST)) return say("no room for an event here");
    const own = rec;
    choose("", label => {
      const id = `a${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
      const added = { id, rec: own, on: round(on), off: round(off), label, score: null, source: "added" };
      range = null;
      act(`add ${label}`, [[id, { added, status: "accepted" }]]);
      select(id, false);
    });
  }

  /** Let a class be chosen, or a new one be named. */
  let chosen = null, choices = [], choice = 0;
  function choose(current, then) {
    chosen = then;
    $("label-search").value = "";
    listLabels(current);
    $("label-dialog").showModal();
    $("label-search").focus();
  }

  const known = () => [...new Set([...page.labels, ...all().map(event => event.label)])];
  const fitName = text => text.normalize("NFC").replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/gu, " ").trim();

  function listLabels(current = "") {
    const typed = fitName($("label-search").value), folded = typed.toLowerCase();
    choices = known().filter(label => label.toLowerCase().includes(folded));
    choices.sort((a, b) => b.toLowerCase().startsWith(folded) - a.toLowerCase().startsWith(folded));
    choices = choices.slice(0, 200);
    if (typed && !known().includes(typed)) choices.push(typed);
    choice = Math.max(0, choices.indexOf(current));
    markChoice();
  }

  function markChoice() {
    const typed = fitName($("label-search").value);
    const options = choices.map((label, n) => {
      const one = element("div"), swatch = element("i", "swatch");
      swatch.style.background = colour(label);
      one.append(swatch, element("bdi", "", label));
      if (label === typed && !known().includes(label)) one.append(" (new)");
      one.id = `choice-${n}`;
      one.setAttribute("role", "option");
      one.setAttribute("aria-selected", String(n === choice));
      one.onclick = () => { choice = n; takeLabel(); };
      return one;
    });
    $("label-list").replaceChildren(...options);
    if (options.length) $("label-search").setAttribute("aria-activedescendant", `choice-${choice}`);
    else $("label-search").removeAttribute("aria-activedescendant");
    options[choice]?.scrollIntoView({ block: "nearest" });
  }

  function takeLabel() {
    const label = choices[choice], then = chosen;
    if (label === undefined) return;
    $("label-dialog").close();
    then(label);
  }

  function labelKeys(event) {
    if (event.key === "Enter") takeLabel();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      choice = clamp(choice + (event.key === "ArrowDown" ? 1 : -1), 0, choices.length - 1);
      markChoice();
    } else return;
    event.preventDefault();
  }

  // ---- Out and in --------------------------------------------------------------------------------

  const wanted = event => event.status === "accepted"
    || (event.status === "undecided" && event.source === "found" && document.querySelector("[name=which]:checked").value === "all");

  /** A field as Earmark's tables have it. */
  const field = text => /["\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const number = value => String(round(value));

  function labelTable() {
    const lines = [["filename", "onset", "offset", "event_label"]];
    page.recordings.forEach((one, n) => {
      const own = all().filter(event => event.rec === n && wanted(event)).sort(inTime);
      for (const event of own) lines.push([field(one.name), number(event.on), number(event.off), field(event.label)]);
      if (!own.length && complete.has(n)) lines.push([field(one.name), "", "", ""]);
    });
    return lines.map(line => `${line.join("\t")}\n`).join("");
  }

  function audacity() {
    const own = all().filter(event => event.rec === rec && wanted(event)).sort(inTime);
    return own.map(event => `${event.on.toFixed(6)}\t${event.off.toFixed(6)}\t${event.label}\n`).join("");
  }

  function download(name, text, type) {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name.replace(/[\\/:*?"<>|\p{Cc}]+/gu, "_");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`saved ${link.download}`);
  }

  function saveReview() {
    const content = {
      earmark_review: 1, digest: page.digest, title: page.title, reviewer: $("reviewer").value,
      changes: [...changes], complete: [...complete],
    };
    const who = $("reviewer").value.trim() || "reviewer";
    download(`${who}.review.json`, JSON.stringify(content, null, 1), "application/json");
  }

  const sorted = one => JSON.stringify(Object.entries(one).sort(([a], [b]) => a < b ? -1 : 1));
  const same = (a, b) => sorted(a) === sorted(b);

  const fits = one => one.on >= 0 && one.off > one.on && one.on < page.recordings[one.rec].seconds;

  function isChange(pair) {
    if (!Array.isArray(pair) || typeof pair[0] !== "string" || typeof pair[1] !== "object" || !pair[1]) return false;
    const { on, off, label, status, added } = pair[1], number = one => one === undefined || Number.isFinite(one);
    const text = one => one === undefined || (typeof one === "string" && one !== "" && fitName(one) === one);
    if (!number(on) || !number(off) || !text(label) || ![undefined, "accepted", "rejected", "undecided"].includes(status)) return false;
    if (!added) return events.has(pair[0]) && fits({ ...events.get(pair[0]), ...pair[1] });
    return Number.isFinite(added.on) && Number.isFinite(added.off) && text(added.label) && added.label !== undefined
      && Boolean(page.recordings[added.rec]) && added.source === "added" && added.score === null && fits({ ...added, ...pair[1] });
  }

  async function merge(file) {
    let other;
    try {
      other = JSON.parse(await file.text());
    } catch {
      return say(`${file.name} is no review file`);
    }
    if (!other || other.earmark_review !== 1 || !Array.isArray(other.changes)) return say(`${file.name} is no review file`);
    if (other.digest !== page.digest) return say(`${file.name} is of another page: ${other.title}`);
    if (!other.changes.every(isChange)) return say(`${file.name} is damaged: an entry is no decision`);
    const theirs = other.changes.map(([id, one]) => [id, one.added ? { ...one, added: { ...one.added, id } } : one]);
    const fresh = theirs.filter(([id]) => !changes.has(id));
    const differing = theirs.filter(([id, one]) => changes.has(id) && !same(changes.get(id), one));
    const who = other.reviewer || "the other";
    $("export-dialog").close();
    const finish = taken => {
      for (const n of Array.isArray(other.complete) ? other.complete : []) if (page.recordings[n]) complete.add(n);
      $("complete").checked = complete.has(rec);
      if (fresh.length + taken.length) act(`merge ${who}`, [...fresh, ...taken]);
      save();
      say(`merged ${fresh.length + taken.length} decisions of ${who}`);
    };
    if (!differing.length) return finish([]);
    $("conflicts-text").textContent = `You and ${who} decided differently on ${differing.length}; ${fresh.length} more are merged.`;
    $("conflicts").replaceChildren(...differing.map(([id, one], n) => conflict(id, one, n, who)));
    $("take").onclick = () => {
      const taken = differing.filter((_, n) => document.querySelector(`[name=conflict-${n}]:checked`).value === "theirs");
      $("conflicts-dialog").close();
      finish(taken);
    };
    $("conflicts-dialog").showModal();
    return undefined;
  }

  function conflict(id, theirs, n, who) {
    const mine = get(id), base = events.get(id) || theirs.added, box = element("fieldset");
    box.append(element("legend", "", `${base.label} · ${time(base.on)} · ${page.recordings[base.rec].name}`));
    const words = one => `${one.status} · ${one.label} · ${time(one.on, 2)} – ${time(one.off, 2)}`;
    for (const [value, who_, one] of [["mine", "you", mine], ["theirs", who, { status: "undecided", ...base, ...theirs }]]) {
      const label = element("label", "check"), input = element("input");
      Object.assign(input, { type: "radio", name: `conflict-${n}`, value, checked: value === "mine" });
      label.append(input, `${who_}: ${words(one)}`);
      box.append(label);
    }
    return box;
  }

  // ---- Hands on it -------------------------------------------------------------------------------

  const KEYS = [
    ["Space", "play, pause", togglePlay], ["Enter", "hear the event", hear], ["O", "loop the event", toggleLoop],
    ["↓ J", "next event", () => step(1)], ["↑ K", "event before", () => step(-1)],
    ["A", "accept", () => decide("accepted")], ["X Delete", "reject", () => decide("rejected")],
    ["U", "undecided again", () => decide("undecided")], ["L", "change the class", relabel],
    ["1 2", "onset earlier, later (Shift: finer)"], ["3 4", "offset earlier, later (Shift: finer)"],
    ["S", "onset to the cursor", () => setEdge("on", cursor)], ["E", "offset to the cursor", () => setEdge("off", cursor)],
    ["N", "add an event", add], ["← →", "cursor by a second (Shift: five)"],
    ["+ −", "zoom"], ["F", "zoom to the event", fit], ["0", "whole recording", () => look(0, recording().seconds)],
    ["Z", "undo", undo], ["Shift Z", "redo", redo],
    ["Page Up, Down", "other recording"], ["T", "light or dark", switchTheme],
    ["Ctrl S", "export and merge", openExport], ["?", "this help", openHelp], ["Esc", "stop, close", null],
  ];

  function openHelp() { $("help-dialog").showModal(); }
  function openExport() { $("export-dialog").showModal(); }

  function switchTheme() {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("earmark-theme", document.documentElement.dataset.theme); } catch { /* only for now */ }
    refresh();
  }

  function keys(event) {
    if (document.querySelector("dialog[open]") || event.isComposing || event.altKey) return;
    const target = event.target, control = event.ctrlKey || event.metaKey, letter = event.key.toLowerCase();
    const typing = /^(input|select|textarea)$/i.test(target.tagName);
    if (control) {
      if (letter === "s") openExport();
      else if (!typing && (letter === "y" || (letter === "z" && event.shiftKey))) redo();
      else if (!typing && letter === "z") undo();
      else return;
      event.preventDefault();
      return;
    }
    if (typing && !(target.type === "checkbox" && letter !== " ")) return;
    const press = target.tagName === "BUTTON" || target.type === "checkbox";
    if (press && (event.key === " " || event.key === "Enter")) return;
    const action = keyAction(event, letter);
    if (!action) return;
    event.preventDefault();
    action();
  }

  function keyAction(event, letter) {
    const size = event.shiftKey ? FINE : STEP, far = event.shiftKey ? 5 : 1;
    const digit = /^(Digit|Numpad)([0-4])$/.exec(event.code)?.[2];
    const plain = {
      " ": togglePlay, Enter: hear, Escape: pause, ArrowDown: () => step(1), ArrowUp: () => step(-1),
      ArrowLeft: () => by(-far), ArrowRight: () => by(far),
      Home: () => go(0), End: () => go(recording().seconds),
      PageUp: () => show(rec - 1), PageDown: () => show(rec + 1),
      Delete: () => decide("rejected"), Backspace: () => decide("rejected"),
    }[event.key];
    if (plain || !$("letters").checked) return plain;
    if (digit) {
      return [() => look(0, recording().seconds), () => nudge("on", -size), () => nudge("on", size),
        () => nudge("off", -size), () => nudge("off", size)][digit];
    }
    return {
      o: toggleLoop, j: () => step(1), k: () => step(-1), a: () => decide("accepted"), x: () => decide("rejected"),
      r: () => decide("rejected"), u: () => decide("undecided"), l: relabel, s: () => setEdge("on", cursor),
      e: () => setEdge("off", cursor), n: add, "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
      "−": () => zoom(2), f: fit, z: event.shiftKey ? redo : undo, t: switchTheme, "?": openHelp,
    }[letter];
  }

  function go(to) {
    move(to);
    if (playing()) play(cursor);
    if (cursor < view.start || cursor > view.start + view.span) look(cursor - view.span / 2, view.span);
  }
  const by = amount => go(cursor + amount);

  function edgeAt(px, slack) {
    const event = selected && get(selected);
    if (!event || event.rec !== rec) return null;
    const [left, right] = [Math.abs(px - x(event.on)), Math.abs(px - x(event.off))];
    if (Math.min(left, right) > slack) return null;
    return left < right || (left === right && px < x(event.on)) ? "on" : "off";
  }

  function eventAt(px, y) {
    const label = rows[Math.floor((y - layout.bottom) / layout.row)];
    const near = all().filter(event => event.rec === rec && event.label === label && x(event.on) - 4 <= px && px <= x(event.off) + 4);
    return near.sort((a, b) => (a.off - a.on) - (b.off - b.on))[0];
  }

  function down(event) {
    if (event.button > 0) return;
    const touch = event.pointerType === "touch", px = event.offsetX;
    pointers.set(event.pointerId, px);
    $("view").setPointerCapture(event.pointerId);
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      drag = { kind: "pinch", apart: Math.abs(a - b), span: view.span, middle: at((a + b) / 2) };
      return;
    }
    const edge = edgeAt(px, touch ? 16 : 7);
    drag = { kind: edge ? "edge" : touch || event.offsetY < layout.ruler ? "pan" : "range", edge, px, start: view.start, moved: false,
      before: edge && { ...changes.get(selected) } };
  }

  function moved(event) {
    const px = event.offsetX;
    if (!drag) { $("view").style.cursor = edgeAt(px, 7) ? "ew-resize" : "crosshair"; return; }
    pointers.set(event.pointerId, px);
    if (drag.kind === "pinch") {
      const [a, b] = [...pointers.values()], span = drag.span * drag.apart / Math.max(10, Math.abs(a - b));
      look(drag.middle - (a + b) / 2 / width() * span, span);
      return;
    }
    drag.moved ||= Math.abs(px - drag.px) > 4;
    if (!drag.moved) return;
    const here = clamp(at(px), 0, recording().seconds);
    if (drag.kind === "pan") look(drag.start - (px - drag.px) / width() * view.span, view.span);
    else if (drag.kind === "range") { range = [at(drag.px), here].sort((a, b) => a - b); draw(); }
    else {
      const own = get(selected), limit = drag.edge === "on" ? Math.min(here, own.off - LEAST) : Math.max(here, own.on + LEAST);
      drag.to = limit;
      setChange(selected, { ...drag.before, [drag.edge]: round(limit), status: "accepted" });
      paintDetail();
      draw();
    }
  }

  function up(event) {
    pointers.delete(event.pointerId);
    if (!drag || pointers.size) return;
    const own = drag;
    drag = null;
    if (own.kind === "edge" && own.to !== undefined) {  // back, and again as one step to undo
      setChange(selected, own.before);
      setEdge(own.edge, own.to);
    } else if (!own.moved && own.kind !== "pinch") {
      const hit = event.offsetY > layout.bottom && eventAt(event.offsetX, event.offsetY);
      range = null;
      if (hit) select(hit.id, true);
      else { looping = false; play(clamp(at(event.offsetX), 0, recording().seconds)); }
    } else if (own.kind === "range" && range) move(range[0]);
  }

  function wheel(event) {
    const along = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    const inRows = event.offsetY > layout.bottom && !event.ctrlKey;
    if (Math.abs(along) > Math.abs(event.shiftKey ? 0 : event.deltaY)) look(view.start + along / width() * view.span, view.span);
    else if (!inRows && !event.shiftKey) zoom(1.0016 ** clamp(event.deltaY, -400, 400), at(event.offsetX));
    else return;
    event.preventDefault();
  }

  function overviewTo(event) {
    if (event.buttons !== 1) return;
    const to = event.offsetX / $("overview").clientWidth * recording().seconds;
    look(to - view.span / 2, view.span);
  }

  function fillChoices() {
    $("title").textContent = page.title;
    $("recording").replaceChildren(...page.recordings.map((one, n) => {
      const option = element("option", "", `${one.name} (${time(one.seconds, 0)})`);
      option.value = n;
      return option;
    }));
    const several = page.recordings.length > 1, judged = page.recordings.some(one => one.truth);
    $("where").hidden = !several;
    if (judged) $("sort").value = "error";
    if (several) $("scope").value = "all";
    for (const option of [...$("show").options, ...$("sort").options]) {
      if (!judged && ["miss", "false alarm", "confusion", "hit", "error"].includes(option.value)) option.remove();
    }
    $("class").replaceChildren(...["", ...known()].map(label => {
      const option = element("option", "", label || "all");
      option.value = label;
      return option;
    }));
    $("keys").replaceChildren(...KEYS.map(([key, text]) => {
      const row = element("div");
      row.append(element("span", "", text), element("kbd", "", key));
      return row;
    }));
    if (!audio.canPlayType(page.media)) say("this browser may not play the sound: make the page with --sound mp3");
  }

  function listen() {
    const click = (id, action) => { $(id).onclick = action; };
    click("before", () => show(rec - 1)); click("after", () => show(rec + 1));
    click("undo", undo); click("redo", redo); click("theme", switchTheme); click("help", openHelp); click("export", openExport);
    click("play", togglePlay); click("in", () => zoom(0.5)); click("out", () => zoom(2)); click("fit", fit);
    click("whole", () => look(0, recording().seconds)); click("add", add); click("label", relabel);
    click("accept", () => decide("accepted")); click("reject", () => decide("rejected"));
    click("hear", hear); click("loop", toggleLoop); click("drop", () => $("conflicts-dialog").close());
    click("save-tsv", () => download("labels.tsv", labelTable(), "text/tab-separated-values"));
    click("save-audacity", () => {
      const name = recording().name.split("/").pop().replace(/\.[A-Za-z0-9]{2,4}$/, "");
      download(`${name}.txt`, audacity(), "text/plain");
    });
    click("save-review", saveReview);
    $("merge").onchange = () => { if ($("merge").files[0]) merge($("merge").files[0]); $("merge").value = ""; };
    $("recording").onchange = () => show(Number($("recording").value));
    for (const id of ["sort", "show", "class", "scope", "all-classes"]) $(id).onchange = refresh;
    $("complete").onchange = () => { if ($("complete").checked) complete.add(rec); else complete.delete(rec); save(); };
    $("reviewer").onchange = save;
    $("speed").onchange = () => { audio.playbackRate = Number($("speed").value); };
    $("brightness").oninput = () => { $("picture").style.filter = `brightness(${$("brightness").value})`; };
    for (const [id, name] of [["onset", "on"], ["offset", "off"]]) {
      $(id).onchange = () => {
        const value = seconds($(id).value);
        if (!Number.isFinite(value)) say("times are h:mm:ss.sss or seconds");
        $(id).blur();
        setEdge(name, value);
      };
    }
    $("label-search").oninput = () => listLabels();
    $("label-search").onkeydown = labelKeys;
    $("list").onscroll = paintList;
    const canvas = $("view");
    canvas.onpointerdown = down; canvas.onpointermove = moved; canvas.onpointerup = up;
    canvas.onpointercancel = event => { pointers.delete(event.pointerId); drag = null; };
    canvas.addEventListener("wheel", wheel, { passive: false });
    $("overview").onpointerdown = overviewTo; $("overview").onpointermove = overviewTo;
    audio.onended = ended;
    audio.onplay = audio.onpause = () => {
      $("play").setAttribute("aria-label", playing() ? "Pause" : "Play");
      $("play").querySelector("path").setAttribute("d", playing() ? "M7 5h4v14H7zM13 5h4v14h-4z" : "M8 5v14l11-7z");
    };
    document.addEventListener("keydown", keys);
    // What a pointer pressed keeps no focus: Space plays, and A accepts, whatever was clicked before.
    let pointed = false;
    addEventListener("pointerdown", () => { pointed = true; }, true);
    addEventListener("keydown", () => { pointed = false; }, true);
    for (const kind of ["click", "change"]) {
      document.querySelector("main").addEventListener(kind, event => {
        const one = event.target.closest("button, select, input[type=checkbox], input[type=range]");
        if (pointed && one && (kind === "change" || one.tagName !== "SELECT")) one.blur();
      });
    }
    new ResizeObserver(() => refresh()).observe($("sheet"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
    // Another tab with this page: the last one to decide is right, and both show it.
    addEventListener("storage", event => { if (event.key === KEY + page.digest) { restore(); refresh(); } });
    try {
      const theme = localStorage.getItem("earmark-theme");
      if (theme) document.documentElement.dataset.theme = theme;
    } catch { /* the system's choice */ }
    requestAnimationFrame(tick);
  }

  return api;
})();
