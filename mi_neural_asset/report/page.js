"use strict";
(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const views = content.views;
  if (!views.length) return;
  const $ = (id) => document.getElementById(id);
  const MODES = { flip: "Flip book", slider: "Slider", grid: "Side by side", error: "Errors" };
  const state = { view: 0, mode: "flip", name: "", other: "", split: 0.5, exposure: 0, zoom: 1, x: 0.5, y: 0.5, limit: -0.5 };
  const halves = new Float32Array(65536); // every half float
  for (let h = 0; h < 65536; h++) {
    const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
    halves[h] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }
  const gamma = new Uint8ClampedArray(4097); // linear to sRGB
  for (let k = 0; k <= 4096; k++) {
    const v = k / 4096;
    gamma[k] = Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
  }
  const decoded = new Map(), painted = new Map();

  function pixels(view, name) {
    const key = `${views.indexOf(view)} ${name}`;
    if (!decoded.has(key)) {
      const bytes = Uint8Array.from(atob(view.images[name]), (c) => c.charCodeAt(0));
      decoded.set(key, Float32Array.from(new Uint16Array(bytes.buffer), (h) => halves[h]));
    }
    return decoded.get(key);
  }

  function mean(values) {
    let sum = 0;
    for (const v of values) sum += v;
    return sum / values.length;
  }

  // black, violet, red, orange, light yellow
  const STOPS = [[0, 0, 0.02], [0.34, 0.06, 0.43], [0.73, 0.21, 0.33], [0.97, 0.55, 0.04], [0.99, 1, 0.64]];
  function colour(t) {
    const p = Math.min(Math.max(t, 0), 1) * (STOPS.length - 1), k = Math.min(Math.floor(p), STOPS.length - 2), f = p - k;
    return [0, 1, 2].map((c) => 255 * (STOPS[k][c] * (1 - f) + STOPS[k + 1][c] * f));
  }

  function paint(view, name, error) {
    const key = `${views.indexOf(view)} ${name} ${error ? `e${state.limit}` : state.exposure}`;
    if (painted.has(key)) return painted.get(key);
    if (painted.size > 64) painted.clear();
    const canvas = document.createElement("canvas");
    canvas.width = view.width;
    canvas.height = view.height;
    const context = canvas.getContext("2d"), image = context.createImageData(view.width, view.height);
    const values = pixels(view, name), count = view.width * view.height;
    if (error) {
      const reference = pixels(view, view.reference), most = 10 ** state.limit * mean(reference);
      for (let k = 0; k < count; k++) {
        let sum = 0;
        for (let c = 0; c < 3; c++) sum += Math.abs(values[3 * k + c] - reference[3 * k + c]);
        image.data.set(colour(sum / 3 / most), 4 * k);
        image.data[4 * k + 3] = 255;
      }
    } else {
      const scale = 2 ** state.exposure * 4096;
      for (let k = 0; k < count; k++) {
        for (let c = 0; c < 3; c++) image.data[4 * k + c] = gamma[Math.min(Math.max(Math.round(values[3 * k + c] * scale), 0), 4096)];
        image.data[4 * k + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    painted.set(key, canvas);
    return canvas;
  }

  // The part of the picture that a panel shows: [left, top, width, height] in pixels of the picture.
  function part(view) {
    const w = view.width / state.zoom, h = view.height / state.zoom;
    const clamp = (c, size, whole) => Math.min(Math.max(c * whole - size / 2, 0), whole - size);
    return [clamp(state.x, w, view.width), clamp(state.y, h, view.height), w, h];
  }

  function panel(view, name, error, caption) {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas"), label = document.createElement("figcaption");
    canvas.dataset.name = name;
    label.textContent = caption;
    figure.append(canvas, label);
    $("panels").append(figure);
    const ratio = window.devicePixelRatio || 1;
    const tall = Math.max(240, window.innerHeight - 260);
    figure.style.width = `${Math.min(figure.clientWidth, (tall * view.width) / view.height)}px`;
    canvas.width = Math.round(figure.clientWidth * ratio);
    canvas.height = Math.round((canvas.width * view.height) / view.width);
    draw(canvas, view, paint(view, name, error), 0, 1);
    listen(canvas, view);
    return { figure, canvas };
  }

  function draw(canvas, view, picture, from, to) {
    const context = canvas.getContext("2d"), [left, top, w, h] = part(view);
    context.imageSmoothingEnabled = false;
    context.drawImage(
      picture, left + from * w, top, (to - from) * w, h, from * canvas.width, 0, (to - from) * canvas.width, canvas.height,
    );
  }

  function show() {
    const view = views[state.view], names = Object.keys(view.images);
    if (!names.includes(state.name)) state.name = names.find((n) => n !== view.reference) || names[0];
    if (!names.includes(state.other)) state.other = view.reference;
    $("panels").replaceChildren();
    const many = state.mode === "grid" || state.mode === "error";
    const shown = state.mode === "error" ? names.filter((n) => n !== view.reference) : names;
    $("panels").style.gridTemplateColumns = many ? `repeat(${Math.min(shown.length, 3)}, 1fr)` : "1fr";
    if (state.mode === "flip") panel(view, state.name, false, state.name);
    if (many) for (const name of shown) panel(view, name, state.mode === "error", name);
    if (state.mode === "slider") slider(view);
    controls(view, names, many);
  }

  function slider(view) {
    const { figure, canvas } = panel(view, state.other, false, state.other);
    const right = document.createElement("figcaption");
    right.className = "right";
    right.textContent = state.name;
    figure.append(right);
    draw(canvas, view, paint(view, state.name, false), state.split, 1);
    const context = canvas.getContext("2d"), x = state.split * canvas.width;
    context.fillStyle = "#fff";
    context.fillRect(x - 1, 0, 2, canvas.height);
    context.beginPath();
    context.arc(x, canvas.height / 2, 9, 0, 7);
    context.fill();
  }

  function controls(view, names, many) {
    $("names").replaceChildren();
    names.forEach((name, k) => {
      if (many) return;
      $("names").append(button(`${k + 1} ${name}`, name === state.name, () => Object.assign(state, { name }), "name"));
    });
    if (state.mode === "slider") {
      const left = document.createElement("span");
      left.textContent = "left of the line:";
      left.className = "row";
      $("names").append(left);
      for (const name of names) $("names").append(button(name, name === state.other, () => Object.assign(state, { other: name }), "other"));
    }
    $("modes").replaceChildren(
      ...Object.entries(MODES).map(([mode, text]) => button(text, mode === state.mode, () => Object.assign(state, { mode }), "mode")),
    );
    $("view").value = state.view;
    $("exposure").value = state.exposure;
    $("stops").textContent = `${state.exposure >= 0 ? "+" : ""}${state.exposure} stops`;
    $("zoom").textContent = `${state.zoom.toFixed(1)} x`;
    $("limit").value = state.limit;
    $("most").textContent = `${(10 ** state.limit).toPrecision(2)}`;
    const error = state.mode === "error";
    $("range").hidden = $("scale").hidden = $("scaletext").hidden = !error;
    if (!error) return;
    const context = $("scale").getContext("2d");
    for (let k = 0; k < 256; k++) {
      context.fillStyle = `rgb(${colour(k / 255).map(Math.round).join(" ")})`;
      context.fillRect(k, 0, 1, 12);
    }
    $("scaletext").textContent = `0 to ${(10 ** state.limit).toPrecision(2)} of the reference's mean`;
  }

  function button(text, pressed, change, kind) {
    const element = document.createElement("button");
    element.textContent = text;
    element.className = kind;
    element.setAttribute("aria-pressed", pressed);
    element.addEventListener("click", () => { change(); show(); });
    return element;
  }

  function zoomTo(factor, fx = 0.5, fy = 0.5) {
    const view = views[state.view], [left, top, w, h] = part(view);
    const px = (left + fx * w) / view.width, py = (top + fy * h) / view.height;
    state.zoom = Math.min(Math.max(state.zoom * factor, 1), 64);
    state.x = px + (0.5 - fx) / state.zoom;
    state.y = py + (0.5 - fy) / state.zoom;
    const [l, t, nw, nh] = part(view); // what is shown after clamping
    state.x = (l + nw / 2) / view.width;
    state.y = (t + nh / 2) / view.height;
    show();
  }

  function place(event, canvas) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  let drag = null;
  function listen(canvas, view) {
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoomTo(event.deltaY < 0 ? 1.25 : 0.8, ...place(event, canvas));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = place(event, canvas);
      const line = state.mode === "slider" && Math.abs(x - state.split) * canvas.clientWidth < 20;
      drag = { line, x, y, from: [state.x, state.y], box: canvas.getBoundingClientRect() };
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event, canvas), [left, top, w, h] = part(view);
      const px = Math.min(Math.floor(left + x * w), view.width - 1), py = Math.min(Math.floor(top + y * h), view.height - 1);
      if (px < 0 || py < 0) return;
      const at = 3 * (py * view.width + px);
      const text = (name) => `${name} ${[0, 1, 2].map((c) => pixels(view, name)[at + c].toPrecision(3)).join(" ")}`;
      const names = [canvas.dataset.name, ...(canvas.dataset.name === view.reference ? [] : [view.reference])];
      $("values").textContent = `pixel ${px}, ${py}: ${names.map(text).join("; ")}`;
    });
  }
  window.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const x = (event.clientX - drag.box.left) / drag.box.width, y = (event.clientY - drag.box.top) / drag.box.height;
    if (drag.line) state.split = Math.min(Math.max(x, 0), 1);
    else {
      const half = 0.5 / state.zoom, keep = (v) => Math.min(Math.max(v, half), 1 - half);
      state.x = keep(drag.from[0] - (x - drag.x) / state.zoom);
      state.y = keep(drag.from[1] - (y - drag.y) / state.zoom);
    }
    show();
  });
  window.addEventListener("pointerup", () => { drag = null; });
  window.addEventListener("resize", show);
  window.addEventListener("keydown", (event) => {
    if (event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const names = Object.keys(views[state.view].images), k = Number(event.key);
    if (event.key === "+" || event.key === "=") zoomTo(1.25);
    else if (event.key === "-") zoomTo(0.8);
    else if (event.key === "0") zoomTo(1 / 64);
    else if (k >= 1 && k <= names.length) { state.name = names[k - 1]; show(); }
  });
  views.forEach((view, k) => $("view").append(new Option(view.name, k)));
  $("view").addEventListener("change", (event) => { state.view = Number(event.target.value); show(); });
  $("exposure").addEventListener("input", (event) => { state.exposure = Number(event.target.value); show(); });
  $("limit").addEventListener("input", (event) => { state.limit = Number(event.target.value); show(); });
  $("in").addEventListener("click", () => zoomTo(1.5));
  $("out").addEventListener("click", () => zoomTo(1 / 1.5));
  $("fit").addEventListener("click", () => zoomTo(1 / 64));
  show();
})();
