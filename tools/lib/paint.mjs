// Landscapes drawn pixel by pixel, so that the demo has photos of its own.
// A scene is made for a picture size and answers the colour of one pixel,
// given as x and y with 0..1 down the height; colours are linear-ish 0..1.

function hash(x, y, seed) {
  let h = Math.imul(x, 374761393) ^ Math.imul(y, 668265263) ^ Math.imul(seed, 2147483647);
  h = Math.imul(h ^ (h >>> 13), 1274126177);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}
const smooth = (t) => t * t * (3 - 2 * t);
const clamp = (v, low = 0, high = 1) => (v < low ? low : v > high ? high : v);
const lerp = (a, b, t) => a + (b - a) * t;
const step = (from, to, v) => smooth(clamp((v - from) / (to - from)));
const mix = (a, b, t) => [lerp(a[0], b[0], t), lerp(a[1], b[1], t), lerp(a[2], b[2], t)];
const add = (a, b, t) => [a[0] + b[0] * t, a[1] + b[1] * t, a[2] + b[2] * t];
const rgb = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16) / 255);

function noise(x, y, seed) {
  const x0 = Math.floor(x);
  const y0 = Math.floor(y);
  const u = smooth(x - x0);
  const v = smooth(y - y0);
  return lerp(
    lerp(hash(x0, y0, seed), hash(x0 + 1, y0, seed), u),
    lerp(hash(x0, y0 + 1, seed), hash(x0 + 1, y0 + 1, seed), u), v);
}
function fbm(x, y, seed, octaves = 5) {
  let sum = 0;
  let weight = 0.5;
  for (let i = 0; i < octaves; i++) {
    sum += weight * noise(x, y, seed + i * 101);
    x = x * 2.03 + 17.1;
    y = y * 2.03 + 9.7;
    weight *= 0.5;
  }
  return sum / (1 - weight * 2);
}

// A gradient of colours at heights: [[0, '#...'], [1, '#...']].
function gradient(...stops) {
  const list = stops.map(([at, colour]) => [at, rgb(colour)]);
  return (v) => {
    let i = 1;
    while (i < list.length - 1 && v > list[i][0]) i++;
    const [from, a] = list[i - 1];
    const [to, b] = list[i];
    return mix(a, b, step(from, to, v));
  };
}

// The skyline of a range of hills for every column: [y of the crest].
function ridge(width, aspect, { base, height, scale, seed, rough = 6, sharp = 0 }) {
  return Float64Array.from({ length: width }, (_, i) => {
    const x = (i / width) * aspect * scale;
    let n = fbm(x, seed * 3.7, seed, rough);
    if (sharp) n = lerp(n, 1 - Math.abs(2 * fbm(x * 0.8 + 5, seed, seed + 7, rough) - 1), sharp);
    return base - height * (n - 0.5) * 2;
  });
}

// Conifers standing on a line, as a skyline.
function forest(width, aspect, { base, height, count, seed, sway = 0.05 }) {
  const line = Float64Array.from({ length: width }, (_, i) => base - sway * (fbm((i / width) * aspect * 2, 3, seed, 4) - 0.5));
  for (let t = 0; t < count; t++) {
    const at = ((t + hash(t, 1, seed)) / count) * width;
    const tall = height * (0.55 + 0.65 * hash(t, 2, seed));
    const half = Math.max(2, tall * 0.14 * (width / aspect));
    const foot = base - sway * (fbm((at / width) * aspect * 2, 3, seed, 4) - 0.5);
    const boughs = 7 + Math.floor(4 * hash(t, 3, seed));
    for (let i = Math.max(0, Math.ceil(at - half)); i <= Math.min(width - 1, at + half); i++) {
      const d = Math.abs(i - at) / half;
      const jag = (d * boughs + hash(t, i < at ? 11 : 12, seed)) % 1;
      line[i] = Math.min(line[i], foot - tall * ((1 - d) ** 1.25 + 0.07 * (0.5 - jag) * Math.min(1, d * 4)));
    }
  }
  return line;
}

const edge = (y, crest, soft) => clamp((y - crest) / soft + 0.5);
const glow = (x, y, cx, cy, size) => Math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (size * size));

function stars(x, y, px, seed, density) {
  const cell = 0.012;
  const gx = Math.floor(x / cell);
  const gy = Math.floor(y / cell);
  if (hash(gx, gy, seed) > density) return 0;
  const cx = (gx + 0.2 + 0.6 * hash(gx, gy, seed + 1)) * cell;
  const cy = (gy + 0.2 + 0.6 * hash(gx, gy, seed + 2)) * cell;
  const size = px * (0.5 + 0.9 * hash(gx, gy, seed + 3) ** 3);
  return (0.3 + 0.7 * hash(gx, gy, seed + 4)) * Math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (size * size));
}

function layered({ sky, sun, layers, seed, haze = 0.35, clouds = 0, tint }) {
  return (width, height) => {
    const aspect = width / height;
    const px = 1 / height;
    const far = rgb(layers.far);
    const near = rgb(layers.near);
    const lines = Array.from({ length: layers.count }, (_, i) => {
      const t = i / (layers.count - 1);
      return {
        t,
        crest: ridge(width, aspect, {
          base: lerp(layers.top, layers.bottom, t), height: lerp(layers.tall, layers.tall * 0.75, t),
          scale: lerp(1.2, 2.1, t), seed: seed + i * 13, sharp: layers.sharp ?? 0.5,
        }),
        colour: mix(far, near, t ** 1.2),
      };
    });
    return (i, j) => {
      const y = j * px;
      const x = i * px;
      let c = sky(y);
      if (clouds) {
        const n = fbm(x * 1.7, y * 6.5, seed + 3, 6);
        c = mix(c, rgb(tint), clouds * step(0.48, 0.78, n) * step(0.75, 0.1, y));
      }
      if (sun) {
        const d = Math.hypot(x - sun.x * aspect, y - sun.y);
        c = add(c, rgb(sun.colour), 0.75 * Math.exp(-d / 0.16) + 0.25 * Math.exp(-d / 0.5));
        c = mix(c, rgb('#fff6dc'), 1 - step(sun.size - px, sun.size + px, d));
      }
      for (const { t, crest, colour } of lines) {
        const cover = edge(y, crest[i], px * 1.5);
        if (!cover) continue;
        const depth = y - crest[i];
        const mist = haze * (1 - t) * clamp(depth / 0.2) + haze * 0.35 * step(0, 0.16, depth) * (1 - t);
        const light = sun ? 0.10 * Math.exp(-depth / 0.02) * glow(x, y, sun.x * aspect, sun.y, 0.55) : 0;
        let hill = mix(colour, sky(lerp(0.55, 0.75, t)), mist);
        hill = add(hill, rgb(sun?.colour ?? '#ffffff'), light);
        const texture = (fbm(x * 26, (y - crest[i]) * 30 + x * 9, seed + 50, 4) - 0.5) * 0.16 * t;
        c = mix(c, hill.map((v) => v * (1 + texture)), cover);
      }
      return c;
    };
  };
}

function lake(width, height) {
  const aspect = width / height;
  const shore = 0.56;
  const above = layered({
    seed: 41, haze: 0.28, clouds: 0.55, tint: '#ffd9c4',
    sky: gradient([0, '#3f6ea6'], [0.35, '#8db4d4'], [0.56, '#f5d9bf']),
    sun: { x: 0.72, y: 0.3, size: 0, colour: '#5a3a24' },
    layers: { count: 4, top: 0.36, bottom: 0.545, tall: 0.21, far: '#7f93b4', near: '#22342f', sharp: 0.8 },
  })(width, height);
  return (i, j) => {
    const y = j / height;
    if (y < shore) return above(i, j);
    const depth = y - shore;
    const ripple = (fbm((i / height) * 5, depth * 130 / (0.25 + depth * 2.2), 77, 3) - 0.5) * (0.006 + depth * 0.09);
    const mirrored = clamp(shore - depth * 0.98 + ripple, 0.002, shore - 0.002);
    const column = clamp(Math.round(i + ripple * height * 0.35), 0, width - 1);
    const c = mix(above(column, mirrored * height), rgb('#16324a'), 0.22 + 0.35 * depth);
    return add(c, rgb('#fbe9d2'), 0.28 * Math.exp(-depth / 0.006) + 0.10 * step(0.62, 0.75, fbm((i / aspect / height) * 3, depth * 60, 5, 3)));
  };
}

function sea(width, height) {
  const aspect = width / height;
  const px = 1 / height;
  const horizon = 0.58;
  const sun = { x: 0.42 * aspect, y: 0.5 };
  const sky = gradient([0, '#2b3467'], [0.28, '#8a5a83'], [0.46, '#e98a5e'], [0.58, '#ffd08a']);
  return (i, j) => {
    const x = i * px;
    const y = j * px;
    if (y < horizon) {
      const n = fbm(x * 1.3, y * 9, 9, 6);
      const bank = step(0.45, 0.72, n) * step(0.56, 0.25, y);
      const d = Math.hypot(x - sun.x, y - sun.y);
      let c = mix(sky(y), mix(rgb('#5b3a63'), rgb('#ffb38a'), step(0.02, 0.5, y)), 0.75 * bank);
      c = add(c, rgb('#ffb45e'), 0.55 * Math.exp(-d / 0.11) + 0.2 * Math.exp(-d / 0.4));
      return mix(c, rgb('#fff3cf'), 1 - step(0.044 - px, 0.044 + px, d));
    }
    const depth = (y - horizon) / (1 - horizon);
    const far = 1 / (depth + 0.06);
    const wave = fbm(x * 2.2 * far + 3, far * 26, 21, 5);
    let c = mix(sky(clamp(horizon - depth * 0.5)), rgb('#141c3a'), 0.42 + 0.4 * depth);
    c = mix(c, rgb('#0b1430'), 0.55 * step(0.45, 0.2, wave));
    const lane = Math.exp(-(((x - sun.x) / (0.05 + depth * 0.26)) ** 2));
    const glint = step(lerp(0.46, 0.58, depth), lerp(0.56, 0.7, depth), wave);
    return add(c, rgb('#ffbf7a'), lane * (0.18 + 1.1 * glint) * (1 - 0.35 * depth));
  };
}

function aurora(width, height) {
  const aspect = width / height;
  const px = 1 / height;
  const sky = gradient([0, '#050b1f'], [0.5, '#0b2136'], [0.8, '#1c4552']);
  const hills = ridge(width, aspect, { base: 0.76, height: 0.1, scale: 1.6, seed: 301, sharp: 0.6 });
  const wood = forest(width, aspect, { base: 0.93, height: 0.22, count: 62, seed: 311, sway: 0.06 });
  return (i, j) => {
    const x = i * px;
    const y = j * px;
    let c = add(sky(y), rgb('#dfe8ff'), stars(x, y, px, 5, 0.34) * step(0.8, 0.4, y));
    for (let k = 0; k < 3; k++) {
      const foot = 0.5 - 0.13 * k + 0.22 * (fbm(x * 0.9 + k * 4.1, 1.5, 61 + k, 3) - 0.5) + 0.06 * Math.sin(x * 3.1 + k * 2);
      const above = foot - y;
      if (above < -0.03) continue;
      const rays = 0.35 + 0.65 * fbm(x * 11 + 2.5 * fbm(x * 2, y, 4, 2), k * 9 + y * 0.7, 71 + k, 4) ** 1.4 * 1.7;
      const strength = step(-0.03, 0.02, above) * Math.exp(-Math.max(0, above) / (0.13 + 0.05 * k)) * rays;
      c = add(c, mix(rgb('#3df5a0'), rgb('#9a5cff'), step(0.02, 0.3, above)), strength * (0.62 - 0.14 * k));
    }
    const onHill = edge(y, hills[i], px * 1.5);
    if (onHill) {
      const depth = y - hills[i];
      const snow = fbm(x * 9, depth * 22 + x * 4, 81, 5);
      c = mix(c, mix(rgb('#10242f'), rgb('#6fa39c'), 0.6 * step(0.35, 0.75, snow) * Math.exp(-depth / 0.2)), onHill);
    }
    return mix(c, rgb('#03080c'), edge(y, wood[i], px * 1.5));
  };
}

function dunes(width, height) {
  const aspect = width / height;
  const px = 1 / height;
  const sky = gradient([0, '#4f86b8'], [0.4, '#b9cfd8'], [0.5, '#f3ddc0']);
  const crests = Array.from({ length: 5 }, (_, k) => ridge(width, aspect, {
    base: 0.46 + 0.11 * k, height: 0.05 + 0.035 * k, scale: 0.9 - 0.06 * k, seed: 401 + 17 * k, rough: 2,
  }));
  return (i, j) => {
    const x = i * px;
    const y = j * px;
    let c = mix(sky(y), rgb('#ffffff'), 0.5 * step(0.52, 0.8, fbm(x * 1.4, y * 7, 15, 6)) * step(0.42, 0.1, y));
    for (let k = 0; k < crests.length; k++) {
      const crest = crests[k];
      const cover = edge(y, crest[i], px * 1.5);
      if (!cover) continue;
      const slope = (crest[Math.min(width - 1, i + 6)] - crest[Math.max(0, i - 6)]) / (12 * px);
      const depth = y - crest[i];
      const fold = Math.sin((x * 1.4 + depth * 2.2) * 5 + k * 2.1 + 2 * fbm(x * 1.5, y * 2, 431 + k, 3));
      const lit = clamp(0.58 + slope * 0.9 + 0.1 * fold - depth * 0.5);
      const ripples = 0.05 * Math.sin((depth * (260 - 40 * k)) + 9 * fbm(x * 3, depth * 7, 441 + k, 3)) * step(0, 0.05, depth);
      const sand = mix(mix(rgb('#6d3a2b'), rgb('#f0b877'), clamp(lit + ripples)), sky(0.49), 0.42 * (1 - k / 4) ** 1.5);
      c = mix(c, add(sand, rgb('#ffe2b0'), 0.22 * Math.exp(-depth / 0.008)), cover);
    }
    return c;
  };
}

function fog(width, height) {
  const aspect = width / height;
  const px = 1 / height;
  const air = gradient([0, '#b9c7cc'], [0.4, '#dcdcd2'], [1, '#aebcb6']);
  const rows = Array.from({ length: 6 }, (_, k) => forest(width, aspect, {
    base: 0.42 + 0.115 * k, height: 0.2 + 0.055 * k, count: Math.round((44 - 5 * k) * aspect), seed: 501 + k * 19, sway: 0.1,
  }));
  return (i, j) => {
    const x = i * px;
    const y = j * px;
    let c = add(air(y), rgb('#fff0cf'), 0.16 * glow(x, y, 0.62 * aspect, 0.16, 0.24));
    for (let k = 0; k < rows.length; k++) {
      const cover = edge(y, rows[k][i], px * 2);
      if (!cover) continue;
      const depth = y - (0.42 + 0.115 * k - 0.6 * (0.2 + 0.055 * k));
      const drift = fbm(x * 2.2 + k * 5, y * 4.5, 531 + k, 5);
      const wood = mix(rgb('#869b99'), rgb('#10241f'), (k / 5) ** 0.9);
      const mist = clamp((depth / 0.3) * (0.35 + 1.2 * drift)) * (0.95 - 0.13 * k);
      c = mix(c, mix(wood, air(y), mist), cover);
    }
    return c;
  };
}

function night(width, height) {
  const aspect = width / height;
  const px = 1 / height;
  const sky = gradient([0, '#0a1030'], [0.55, '#24315f'], [0.85, '#6a5a86']);
  const moon = { x: 0.33 * aspect, y: 0.24, size: 0.075 };
  const hills = [0, 1, 2].map((k) => ridge(width, aspect, { base: 0.7 + 0.08 * k, height: 0.11 - 0.02 * k, scale: 1.3 + k * 0.5, seed: 601 + k * 11, sharp: 0.4 }));
  const wood = forest(width, aspect, { base: 0.97, height: 0.2, count: Math.round(34 * aspect), seed: 641, sway: 0.05 });
  return (i, j) => {
    const x = i * px;
    const y = j * px;
    const band = Math.exp(-(((x - y * 0.7 - 0.42 * aspect) / 0.2) ** 2)) * fbm(x * 4, y * 4, 31, 6);
    let c = add(sky(y), rgb('#8f9fe0'), 0.42 * band * step(0.8, 0.3, y));
    c = add(c, rgb('#ffffff'), stars(x, y, px, 15, 0.26 + 0.5 * band) * step(0.78, 0.45, y));
    const d = Math.hypot(x - moon.x, y - moon.y);
    c = add(c, rgb('#b9c8ff'), 0.4 * Math.exp(-d / 0.1) + 0.16 * Math.exp(-d / 0.35));
    const disc = 1 - step(moon.size - px, moon.size + px, d);
    if (disc) {
      const seas = 0.26 * step(0.42, 0.62, fbm((x - moon.x) * 26 + 5, (y - moon.y) * 26, 91, 4));
      c = mix(c, rgb('#f6f1e2').map((v) => v * (1 - seas) * (1 - 0.35 * (d / moon.size) ** 4)), disc);
    }
    hills.forEach((crest, k) => {
      const cover = edge(y, crest[i], px * 1.5);
      if (cover) c = mix(c, add(mix(rgb('#3b4478'), rgb('#0c1230'), k / 2), rgb('#8ea2e8'), 0.16 * Math.exp(-(y - crest[i]) / 0.03)), cover);
    });
    return mix(c, rgb('#04060f'), edge(y, wood[i], px * 1.5));
  };
}

const LANDSCAPE = [1600, 1067];
const PORTRAIT = [1067, 1600];

export const SCENES = [
  {
    name: 'evening-ridges.jpg', caption: 'Evening over the ridges', taken: '2026-06-21T19:48:12.000Z', size: LANDSCAPE,
    scene: layered({
      seed: 11, haze: 0.5, clouds: 0.6, tint: '#ffc9a3',
      sky: gradient([0, '#44518c'], [0.3, '#b8708c'], [0.52, '#f7a66b'], [0.8, '#ffdca0']),
      sun: { x: 0.66, y: 0.36, size: 0.045, colour: '#ff9a52' },
      layers: { count: 6, top: 0.5, bottom: 0.98, tall: 0.13, far: '#b77a86', near: '#1d1630' },
    }),
  },
  { name: 'still-lake.jpg', caption: 'The lake before the wind came', taken: '2026-07-04T05:31:40.000Z', size: LANDSCAPE, scene: lake },
  { name: 'forest-in-fog.jpg', caption: 'Fog in the spruces', taken: '2026-10-11T06:55:03.000Z', size: PORTRAIT, scene: fog },
  { name: 'sea-at-dusk.jpg', caption: 'Last light on the water', taken: '2026-08-15T18:59:27.000Z', size: LANDSCAPE, scene: sea },
  { name: 'dunes.jpg', caption: 'Walking the dunes', taken: '2026-04-02T15:10:56.000Z', size: LANDSCAPE, scene: dunes },
  { name: 'northern-lights.jpg', caption: 'Northern lights, at last', taken: '2026-02-13T22:17:30.000Z', size: LANDSCAPE, scene: aurora },
  {
    name: 'spring-morning.jpg', caption: 'Green hills on a spring morning', taken: '2026-05-09T07:22:45.000Z', size: LANDSCAPE,
    scene: layered({
      seed: 23, haze: 0.42, clouds: 0.8, tint: '#ffffff',
      sky: gradient([0, '#4d8fc7'], [0.35, '#9cc7e2'], [0.6, '#e8f0e4'], [0.8, '#f3f2d4']),
      sun: { x: 0.22, y: 0.2, size: 0, colour: '#5c5230' },
      layers: { count: 6, top: 0.48, bottom: 0.95, tall: 0.09, far: '#93b3b4', near: '#2f5a25', sharp: 0.1 },
    }),
  },
  { name: 'moonrise.jpg', caption: 'Moonrise above the valley', taken: '2026-09-26T20:41:18.000Z', size: PORTRAIT, scene: night },
];

// The picture as RGBA bytes, with a little vignette and grain as a lens and a
// sensor would give (the grain also keeps gradients from banding).
export function paint({ size: [width, height], scene }) {
  const colour = scene(width, height);
  const data = new Uint8Array(width * height * 4);
  const cx = width / 2;
  const cy = height / 2;
  const reach = cx * cx + cy * cy;
  for (let j = 0, o = 0; j < height; j++) {
    for (let i = 0; i < width; i++, o += 4) {
      const c = colour(i, j);
      const shade = 1 - 0.24 * (((i - cx) ** 2 + (j - cy) ** 2) / reach) ** 1.3;
      const grain = (hash(i, j, 7) + hash(i, j, 8) - 1) * 0.022;
      for (let k = 0; k < 3; k++) data[o + k] = clamp(c[k] * shade + grain) * 255 + 0.5;
      data[o + 3] = 255;
    }
  }
  return { width, height, data };
}

// The picture no larger than `side`, each pixel the mean of what it covers.
export function shrink({ width, height, data }, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  const w = Math.round(width * scale);
  const h = Math.round(height * scale);
  const out = new Uint8Array(w * h * 4);
  for (let y = 0; y < h; y++) {
    const top = Math.floor((y * height) / h);
    const bottom = Math.max(top + 1, Math.floor(((y + 1) * height) / h));
    for (let x = 0; x < w; x++) {
      const left = Math.floor((x * width) / w);
      const right = Math.max(left + 1, Math.floor(((x + 1) * width) / w));
      const sum = [0, 0, 0];
      for (let j = top; j < bottom; j++) {
        for (let i = left; i < right; i++) for (let k = 0; k < 3; k++) sum[k] += data[(j * width + i) * 4 + k];
      }
      const n = (bottom - top) * (right - left);
      for (let k = 0; k < 3; k++) out[(y * w + x) * 4 + k] = sum[k] / n + 0.5;
      out[(y * w + x) * 4 + 3] = 255;
    }
  }
  return { width: w, height: h, data: out };
}
