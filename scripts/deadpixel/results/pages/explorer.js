"use strict";
// Two maps side by side. What is shown follows from `view` alone, which the address keeps.
(() => {
  const { steps, error_steps, brightest, colours, start, maps } = JSON.parse(
    document.getElementById("maps-json").textContent,
  );
  const names = Object.keys(maps);
  if (!names.length) return;
  const SIDES = ["left", "right"];
  const find = (kind, side) => document.querySelector(`#explorer ${kind}[data-side=${side}]`);
  const byId = (id) => document.getElementById(id);
  const [left, right] = [...start.filter((name) => maps[name]), ...names, names[0]];
  const view = { left, right, zoom: 1, x: 0, y: 0, row: 0, column: 0, unit: "mean" };
  const unpacked = new Map();

  // A map's values and errors, as `explorer.pack` has described them.
  async function unpack(name) {
    if (unpacked.has(name)) return unpacked.get(name);
    const { height, width, text, largest, largest_error } = maps[name];
    const deflated = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const size = height * width;
    const values = new Float64Array(size);
    const errors = new Float64Array(size);
    for (let pixel = 0; pixel < size; pixel++) {
      const step = (bytes[pixel] * 256 + bytes[size + pixel] - steps) / steps;
      values[pixel] = Math.sign(step) * step ** 2 * largest;
      errors[pixel] = (bytes[2 * size + pixel] / error_steps) ** 2 * largest_error;
    }
    const mean = values.reduce((sum, value) => sum + value, 0) / size;
    const sorted = values.map(Math.abs).filter((value) => value > 0).sort();
    const bright = sorted[Math.floor((brightest / 100) * (sorted.length - 1))] ?? 0;
    const found = { height, width, values, errors, mean, bright, signed: values.some((value) => value < 0) };
    unpacked.set(name, found);
    return found;
  }

  const unitOf = (map) => (view.unit === "mean" ? Math.abs(map.mean) || 1 : 1);

  function paint(canvas, width, height, values, low, high, palette) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    values.forEach((value, pixel) => {
      const share = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
      const level = 3 * Math.round(share * (palette.length / 3 - 1));
      image.data.set([palette[level], palette[level + 1], palette[level + 2], value === null ? 0 : 255], 4 * pixel);
    });
    context.putImageData(image, 0, 0);
    return canvas;
  }

  // Moving about leaves the colours as they are.
  const painted = {};
  function pictureOf(side, map, low, high, palette) {
    const key = JSON.stringify([view[side], view.unit, low, high]);
    if (painted[side]?.key !== key) {
      const values = map.values.map((value) => value / unitOf(map));
      const picture = paint(document.createElement("canvas"), map.width, map.height, values, low, high, palette);
      painted[side] = { key, picture };
    }
    return painted[side].picture;
  }

  const paintBar = (id, palette) => {
    const levels = Array.from({ length: 256 }, (_, level) => level);
    paint(byId(id), 256, 1, levels, 0, 255, palette);
  };

  // Pixels of a canvas for one of the map: both sides have one scale, so the larger map fits.
  const scaleOf = (canvas, shown) =>
    (view.zoom * canvas.width) / Math.max(...shown.map((map) => Math.max(map.height, map.width)));

  function drawView(canvas, picture, shown) {
    const side = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)) || 300;
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    const scale = scaleOf(canvas, shown);
    context.imageSmoothingEnabled = false;
    context.setTransform(scale, 0, 0, scale, side / 2 - scale * view.x, side / 2 - scale * view.y);
    context.drawImage(picture, 0, 0);
    context.strokeStyle = "#35d0ff";
    context.lineWidth = 2 / scale;
    context.strokeRect(view.column, view.row, 1, 1);
    const reach = 6 / scale;
    context.strokeRect(view.column - reach, view.row - reach, 1 + 2 * reach, 1 + 2 * reach);
  }

  const rounded = (value) => (value === 0 ? "0" : Math.abs(value) >= 0.01 && Math.abs(value) < 1000 ? value.toPrecision(3) : value.toExponential(2));

  function readingOf(map) {
    if (view.row >= map.height || view.column >= map.width) return "outside";
    const pixel = view.row * map.width + view.column;
    const unit = unitOf(map);
    return `${rounded(map.values[pixel] / unit)} ± ${rounded(map.errors[pixel] / unit)}`;
  }

  function profile(svg, shown, title, pixelsOf) {
    const lines = shown.map((map) => pixelsOf(map).map((pixel) => [map.values[pixel] / unitOf(map), map.errors[pixel] / unitOf(map)]));
    const length = Math.max(1, ...lines.map((line) => line.length));
    const ends = lines.flat().flatMap(([value, error]) => [value - error, value + error]);
    const high = Math.max(...ends, 0) || 1;
    const low = Math.min(...lines.flat().map(([value]) => value), 0);
    const x = (place) => 42 + (350 * place) / Math.max(1, length - 1);
    const y = (value) => 150 - (125 * (Math.max(low, value) - low)) / (high - low);
    const points = (line, of) => line.map((point, place) => `${x(place).toFixed(1)},${y(of(point)).toFixed(1)}`);
    const drawn = lines.map((line, number) => {
      const colour = `var(--${number ? "other" : "accent"})`;
      const band = [...points(line, ([v, e]) => v + e), ...points(line, ([v, e]) => v - e).reverse()];
      return `<polygon points="${band.join(" ")}" fill="${colour}" opacity=".25"/>` +
        `<polyline points="${points(line, ([v]) => v).join(" ")}" fill="none" stroke="${colour}" stroke-width="1.3"/>`;
    });
    const ticks = [0, Math.floor(length / 2), length - 1];
    svg.innerHTML = `<text x="42" y="14">${title} (px): sensitivity ± standard error</text>` +
      `<line x1="42" x2="392" y1="150" y2="150" stroke="var(--line)"/>` +
      `<text x="38" y="${y(high) + 4}" text-anchor="end">${rounded(high)}</text>` +
      `<text x="38" y="154" text-anchor="end">${rounded(low)}</text>` +
      ticks.map((tick) => `<text x="${x(tick)}" y="168" text-anchor="middle">${tick}</text>`).join("") + drawn.join("");
  }

  async function draw() {
    const shown = await Promise.all(SIDES.map((side) => unpack(view[side])));
    if (!view.x) centre(shown);
    const signed = shown.some((map) => map.signed);
    const high = Math.max(...shown.map((map) => map.bright / unitOf(map)));
    const low = signed ? -high : 0;
    const palette = signed ? colours.signed : colours.positive;
    const tiles = SIDES.map((side) => maps[view[side]].tile);
    const known = tiles.flatMap((tile) => tile.values).filter((value) => value !== null);
    const reach = Math.max(...known.map((value) => Math.abs(value - 1)), 0.001);
    SIDES.forEach((side, number) => {
      const map = shown[number];
      find("select", side).value = view[side];
      drawView(find("canvas.view", side), pictureOf(side, map, low, high, palette), shown);
      const { side: period, values } = tiles[number];
      paint(find("canvas.tile", side), period, period, values, 1 - reach, 1 + reach, colours.tile);
    });
    paintBar("bar", palette);
    paintBar("tile-bar", colours.tile);
    byId("low").textContent = rounded(low);
    byId("high").textContent = rounded(high);
    byId("tile-low").textContent = (1 - reach).toFixed(2);
    byId("tile-high").textContent = (1 + reach).toFixed(2);
    const [left, right] = shown.map(readingOf);
    const unit = view.unit === "mean" ? " times the map's mean" : "";
    byId("reading").innerHTML = `row ${view.row}, column ${view.column}: <span class="left">left ${left}</span>, <span class="right">right ${right}</span>${unit}`;
    profile(byId("along-row"), shown, `along row ${view.row}`, (map) =>
      view.row < map.height ? Array.from({ length: map.width }, (_, place) => view.row * map.width + place) : []);
    profile(byId("along-column"), shown, `along column ${view.column}`, (map) =>
      view.column < map.width ? Array.from({ length: map.height }, (_, place) => place * map.width + view.column) : []);
    byId("explorer").dataset.shown = JSON.stringify(view);
  }

  // At first the middle of the maps, and the pixel of the left one's centre of mass.
  function centre(shown) {
    const [map] = shown;
    const side = Math.max(...shown.map((one) => Math.max(one.height, one.width)));
    Object.assign(view, { zoom: 1, x: side / 2, y: side / 2 });
    let [mass, row, column] = [0, 0, 0];
    map.values.forEach((value, pixel) => {
      const weight = Math.abs(value);
      mass += weight;
      row += weight * Math.floor(pixel / map.width);
      column += weight * (pixel % map.width);
    });
    if (!view.row) Object.assign(view, { row: Math.round(row / (mass || 1)), column: Math.round(column / (mass || 1)) });
  }

  function change(changed) {
    Object.assign(view, changed);
    return draw();
  }

  function keepInAddress() {
    const { left, right, row, column } = view;
    // a page inside another one, as in Snakemake's report, may not
    try {
      history.replaceState(null, "", `#${new URLSearchParams({ left, right, row, column })}`);
    } catch {}
  }

  function followAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!SIDES.some((side) => wanted.has(side))) return draw();
    for (const side of SIDES) if (maps[wanted.get(side)]) view[side] = wanted.get(side);
    for (const axis of ["row", "column"]) if (/^\d+$/.test(wanted.get(axis))) view[axis] = Number(wanted.get(axis));
    byId("explore").scrollIntoView();
    return draw();
  }

  async function pixelAt(canvas, event) {
    const shown = await Promise.all(SIDES.map((side) => unpack(view[side])));
    const box = canvas.getBoundingClientRect();
    const scale = scaleOf(canvas, shown);
    const place = (client, start, centred) => ((client - start) / box.width - 0.5) * (canvas.width / scale) + centred;
    return { x: place(event.clientX, box.left, view.x), y: place(event.clientY, box.top, view.y), scale: (scale * box.width) / canvas.width };
  }

  function zoomBy(factor, at = view) {
    const zoom = Math.min(64, Math.max(1, view.zoom * factor));
    const kept = view.zoom / zoom;
    return change({ zoom, x: at.x + (view.x - at.x) * kept, y: at.y + (view.y - at.y) * kept });
  }

  function read(row, column) {
    const limit = (value, sizes) => Math.min(Math.max(0, value), Math.max(...sizes) - 1);
    const sizes = SIDES.map((side) => maps[view[side]]);
    return change({
      row: limit(row, sizes.map((map) => map.height)),
      column: limit(column, sizes.map((map) => map.width)),
    }).then(keepInAddress);
  }

  for (const side of SIDES) {
    const select = find("select", side);
    select.append(...names.map((name) => new Option(name.split("/").slice(1).join(" · "), name)));
    select.addEventListener("change", () => change({ [side]: select.value }).then(keepInAddress));
    const canvas = find("canvas.view", side);
    let from = null;
    canvas.addEventListener("wheel", async (event) => {
      event.preventDefault();
      zoomBy(event.deltaY < 0 ? 1.25 : 0.8, await pixelAt(canvas, event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture?.(event.pointerId);
      from = { clientX: event.clientX, clientY: event.clientY, x: view.x, y: view.y, moved: false };
    });
    canvas.addEventListener("pointermove", async (event) => {
      const { x, y, scale } = await pixelAt(canvas, event);
      if (!from) return event.pointerType === "mouse" && change({ row: Math.max(0, Math.floor(y)), column: Math.max(0, Math.floor(x)) });
      const [right, down] = [event.clientX - from.clientX, event.clientY - from.clientY];
      from.moved ||= Math.hypot(right, down) > 4;
      if (from.moved) change({ x: from.x - right / scale, y: from.y - down / scale });
    });
    canvas.addEventListener("pointerup", async (event) => {
      const { x, y } = await pixelAt(canvas, event);
      if (from && !from.moved) read(Math.floor(y), Math.floor(x));
      from = null;
    });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      read(view.row + move[0], view.column + move[1]);
    });
  }
  for (const button of document.querySelectorAll("button[data-zoom]")) {
    const factor = Number(button.dataset.zoom);
    button.addEventListener("click", () => (factor ? zoomBy(factor) : change({ x: 0 })));
  }
  byId("unit").addEventListener("change", (event) => change({ unit: event.target.value }));
  window.addEventListener("resize", draw);
  window.addEventListener("hashchange", followAddress);
  followAddress();
})();
